"""Images drawn in more than one go, over HTTP, against the stock pipelines: `python -m benchmarks.redraw`.

A service of real processes with one worker and the demo model, started as an operator starts it, is asked for images in
two passes. The stock side draws the same in this process with the same number of threads: text to image, a Lanczos
filter, image to image. `alone` is one request after the other; `together` is several at once, mixed with plain ones,
against the stock pipelines one after the other. Both sides have each round in turn, every other round the other way
about, and while one computes the other waits. Seconds of a service are by the clock of its client.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import diffusers
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks import report
from benchmarks.served import PROMPTS, started
from client.local.embedded_redis import find_server
from shared.catalogue.entries import load_catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.settings import Settings
from tests.e2e.service import Service
from worker.hardware.cores import available_cores
from worker.hardware.devices import pick_device
from worker.hardware.variants import choose_precision, profile_for

FIRST, LARGE, STRENGTH = 128, 256, 0.3
TARGETS = {"alone": "times_as_fast >= 0.95", "together": "times_as_fast >= 1.8"}
HIRES, PLAIN = "two passes", "plain"


class Stock:
    """The stock pipelines over the same files, in the same precision as the worker's."""

    def __init__(self, steps: int) -> None:
        settings, model = Settings(), load_catalogue("demo").default
        device = pick_device(settings.device)
        precision = choose_precision(None, profile_for(settings.worker_variant, device), device)
        self._steps = steps
        self._text: Any = diffusers.StableDiffusionPipeline.from_pretrained(
            str(model.place(settings.models_dir)), safety_checker=None, feature_extractor=None,
            requires_safety_checker=False, dtype=precision.denoiser,
        ).to(device.name)  # fmt: skip
        self._text.scheduler = diffusers.DDIMScheduler.from_config(
            self._text.scheduler.config, **dict(SAMPLERS["ddim"].arguments)
        )
        self._image: Any = diffusers.StableDiffusionImg2ImgPipeline(
            **self._text.components, requires_safety_checker=False
        )
        for pipeline in (self._text, self._image):
            pipeline.set_progress_bar_config(disable=True)

    def draw_all(self, kinds: Sequence[str], seeds: Sequence[int]) -> None:
        """Images of these kinds, one after the other."""
        for kind, seed in zip(kinds, seeds, strict=True):
            self.draw(kind, seed)

    def draw(self, kind: str, seed: int) -> Image.Image:
        """One image of a kind."""
        same = {"prompt": PROMPTS[seed % len(PROMPTS)], "num_inference_steps": self._steps, "guidance_scale": 7.5}
        noise = torch.Generator("cpu").manual_seed(seed)
        small: Image.Image = self._text(**same, width=FIRST, height=FIRST, generator=noise).images[0]
        if kind == PLAIN:
            return small
        large = small.resize((LARGE, LARGE), Image.Resampling.LANCZOS)
        drawn: Image.Image = self._image(**same, image=large, strength=STRENGTH, generator=noise).images[0]
        return drawn


def body_of(kind: str, seed: int, steps: int) -> dict[str, Any]:
    """The request for the same image."""
    two_passes = {"scale": LARGE / FIRST, "strength": STRENGTH, "steps": steps}
    return {
        "prompt": PROMPTS[seed % len(PROMPTS)], "seed": seed, "W": FIRST, "H": FIRST, "ddim_steps": steps,
        "hires": two_passes if kind == HIRES else "off", "return_base64": True, "skip_save": True,
    }  # fmt: skip


def serve(service: Service, bodies: Sequence[Mapping[str, Any]]) -> None:
    """Ask for all of these at once, and wait for their images. Raises RuntimeError where one is not drawn."""
    for task_id in [service.submit(**body) for body in bodies]:
        state = service.wait(task_id, timeout=600).json()["State"]
        if state != "SUCCESS":
            raise RuntimeError(f"a job ended as {state}")


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(service: Service, stock: Stock, kinds: Sequence[str], steps: int, rounds: int) -> dict[str, Any]:
    """One image of each of `kinds`, at once by the service, one after the other by the stock pipelines: in rounds."""
    taken: dict[str, list[float]] = {"service": [], "stock": []}
    for number in track(range(rounds + 1), f"{len(kinds)} at once", console=Console(stderr=True)):
        seeds = [100 * number + place for place in range(len(kinds))]
        bodies = [body_of(kind, seed, steps) for kind, seed in zip(kinds, seeds, strict=True)]
        sides: Mapping[str, Callable[[], Any]] = {
            "service": partial(serve, service, bodies), "stock": partial(stock.draw_all, kinds, seeds),
        }  # fmt: skip
        for side in list(sides)[:: 1 if number % 2 else -1]:
            seconds = timed(sides[side])
            if number:  # the first round warms both up
                taken[side].append(seconds)
    ratios = [theirs / ours for ours, theirs in zip(taken["service"], taken["stock"], strict=True)]
    medians = {f"{side}_s": round(statistics.median(seconds), 3) for side, seconds in taken.items()}
    faster = {"times_as_fast": round(statistics.median(ratios), 3), "by_round": [round(each, 3) for each in ratios]}
    return medians | faster


@click.command()
@click.option("--rounds", default=7, show_default=True)
@click.option("--at-once", default=8, show_default=True)
@click.option("--steps", type=click.IntRange(4), default=20, show_default=True)
@click.option("--name", default="redraw", show_default=True, help="Of the file in benchmarks/results.")
def main(rounds: int, at_once: int, steps: int, name: str) -> None:
    """Measure, print the summary, keep the results."""
    redis_server = find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    busy, threads = os.getloadavg()[0], available_cores()
    torch.set_num_threads(threads)
    stock = Stock(steps)
    mixed = [HIRES if place % 2 else PLAIN for place in range(at_once)]
    with tempfile.TemporaryDirectory() as folder:
        # the second start knows the step times of the first, as any but the first start does
        for start in ("first", "second"):
            with started(Path(folder) / start, redis_server, Path(folder) / "cache") as service:
                if start == "first":
                    serve(service, [body_of(kind, 1, 2) for kind in mixed])
                    continue
                found = {
                    "alone": compare(service, stock, [HIRES], steps, rounds),
                    "together": compare(service, stock, mixed, steps, rounds),
                }
    Console(stderr=True).print(found)
    click.echo(report.write(name, {
        "machine": report.machine("cpu", threads) | {"load_at_the_start": round(busy, 2)},
        "sizes": f"{FIRST}x{FIRST}, then {LARGE}x{LARGE}", "strength": STRENGTH, "steps": steps, "rounds": rounds,
        "at_once": at_once, "targets": TARGETS, "measured": found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
