"""A request drawn by an engine of its own, from its start to the files: what `python -m worker.draw` does."""

import io
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from PIL import Image

from shared.catalogue.models import Catalogue
from shared.files import write_file
from shared.request.grid import grid
from shared.request.input_image import InputImage
from shared.request.model import ImageRequest
from shared.request.parameters import wire_parameters
from shared.request.sample_folder import SampleFolder
from shared.request.sizes import plan_grid
from shared.settings import Settings
from worker.engine import Denoised, Engine
from worker.images.encode import encode
from worker.jobs.enlarging import enlarged_for
from worker.jobs.task_images import denoise_request, image_file, ready_images
from worker.upscalers.enlarger import Enlarger


class Outputs:
    """Where the images of a request go: into `output`, into the folder `outdir`, or both. Raises OSError."""

    def __init__(self, request: ImageRequest, output: Path | None, outdir: Path | None) -> None:
        self._request = request
        self._output = output
        self._folder = SampleFolder(outdir) if outdir else None
        self._suffix = f".{request.format}"
        self._has_grid = not request.skip_grid and request.image_count > 1
        self._images: list[Image.Image] = []
        if output and str(output) == "-" and not self._has_grid and request.image_count > 1:
            raise click.UsageError("-o -: several images do not fit into one stream; leave out --skip-grid.")

    def take(self, data: bytes) -> None:
        """Write an image, a file of the request's format, where images go."""
        number = len(self._images) + 1
        with Image.open(io.BytesIO(data)) as opened:
            self._images.append(opened.convert("RGB"))
        if self._folder and not self._request.skip_save:
            click.echo(self._folder.keep_sample(data, self._suffix), err=str(self._output) == "-")
        if self._output and not self._has_grid:
            several = self._request.image_count > 1
            name = f"{self._output.stem}-{number}{self._output.suffix}" if several else self._output.name
            self._write(self._output.with_name(name), data)

    def close(self, last: Denoised) -> None:
        """Write the grid, if there is one; its parameters are those of the request."""
        if not self._has_grid:
            return
        sheet = grid(self._images, plan_grid(self._request))
        parameters = wire_parameters(self._request, last.used, ())
        data = encode(sheet, self._request.format, parameters, self._request.output_compression)
        if self._folder:
            click.echo(self._folder.keep_grid(data, self._suffix), err=str(self._output) == "-")
        if self._output:
            self._write(self._output, data)

    def _write(self, path: Path, data: bytes) -> None:
        if str(path) == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, data)
        click.echo(path)


class Watch:
    """How far the images are, on a terminal, and when the model was ready. `step` runs on the engine's thread."""

    def __init__(self, images: int, begun: float) -> None:
        """`begun` is in seconds of the monotonic clock."""
        self._begun = begun
        self._lock = threading.Lock()
        self._terminal = threading.RLock()
        self._images = images
        self._done: dict[int, tuple[int, int]] = {}
        self._loaded_s: float | None = None
        self._first_s: float | None = None
        self._shows = sys.stderr.isatty()

    def downloading(self, percent: int) -> None:
        self._show(f"downloading the model: {percent} %")

    def step(self, image: int, step: int, steps: int) -> None:
        with self._lock:
            if self._loaded_s is None:
                self._loaded_s = time.monotonic() - self._begun
            self._done[image] = (step, steps)
            done = sum(step for step, _ in self._done.values())
        self._show(f"step {done} of {steps * self._images}")

    def finished(self) -> None:
        if self._first_s is None:
            self._first_s = time.monotonic() - self._begun

    def report(self) -> str:
        """What was measured, in one line."""
        whole = time.monotonic() - self._begun
        loaded, first = self._loaded_s or 0.0, self._first_s or whole
        text = f"loaded after {loaded:.1f} s, first image {first - loaded:.1f} s"
        if self._images > 1:
            text += f", each of the other {self._images - 1} {(whole - first) / (self._images - 1):.2f} s"
        return f"{text}; {whole:.1f} s in all"

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave the terminal's line to somebody else meanwhile."""
        with self._terminal:
            self._show("")
            yield

    def clear(self) -> None:
        """Show nothing any more."""
        self._show("")

    def _show(self, text: str) -> None:
        if self._shows:
            with self._terminal:
                width = os.get_terminal_size(sys.stderr.fileno()).columns
                sys.stderr.write(f"\r\x1b[K{text[: width - 1]}")
                sys.stderr.flush()


def draw_all(
    settings: Settings,
    catalogue: Catalogue,
    request: ImageRequest,
    images: Mapping[str, InputImage],
    outputs: Outputs,
    begun: float,
) -> None:
    """Draw all images of a request in shared batches, writing each as soon as it and those before it are done.

    Times are told from `begun` on, in seconds of the monotonic clock.
    Raises a ServiceError or a Signal where an image cannot be drawn, ValueError where there is no such device, and
    OSError. What was written stays.
    """
    watch = Watch(request.image_count, begun)
    engine = Engine(settings, catalogue)
    ready = ready_images(request, {name: image.png for name, image in images.items()})
    enlarger = Enlarger(engine.networks, engine.run_aside)
    engine.start()
    try:
        engine.fetch(request.params.model, watch.downloading)
        places = [(task, sample) for task in range(request.tasks) for sample in range(request.n_samples)]
        tickets = [
            engine.submit(denoise_request(request, *place, ready), partial(watch.step, number))
            for number, place in enumerate(places)
        ]
        warnings = list(request.warnings)
        for place, ticket in zip(places, tickets, strict=True):
            finished = enlarged_for(request, ready.finished(ticket.result()), enlarger)
            watch.finished()
            data = image_file(request, *place, finished)[1]
            with watch.aside():
                outputs.take(data)
            warnings += finished.warnings
        with watch.aside():
            outputs.close(finished)
    finally:
        engine.stop()
        watch.clear()
    for warning in dict.fromkeys(warnings):
        click.echo(f"worker.draw: {warning}", err=True)
    click.echo(f"worker.draw: {watch.report()}", err=True)
