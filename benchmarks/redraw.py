"""Images drawn in two passes, under a mask and along an outline, over HTTP, against the stock pipelines.

`python -m benchmarks.redraw`. A service of real processes with one worker and the demo model, started as an operator
starts it, is asked for images of each kind. The stock side draws the same in this process with the same number of
threads: text to image, a Lanczos filter, image to image; inpainting; a ControlNet. `alone` is one request after the
other; `together` is several at once, mixed with plain ones, against the stock pipelines one after the other, and
against the service that is asked for one after the other. All sides have each round in turn, every other round the
other way about, and while one computes the others wait. Seconds of a service are by the clock of its client.
"""

import base64
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from http import HTTPStatus
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import click
import diffusers
import requests
import torch
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import track

from benchmarks import report
from benchmarks.served import PROMPTS, started
from client.local.embedded_redis import find_server
from demo_model.control import CONTROL
from shared.catalogue.entries import load_catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.settings import DUMMY_API_KEY, Settings
from tests.e2e.service import Service
from worker.hardware.cores import available_cores
from worker.hardware.devices import pick_device
from worker.hardware.variants import choose_precision, profile_for

FIRST, LARGE, STRENGTH = 128, 256, 0.3
REDRAWN = 0.75
"""Strength of what is drawn under a mask."""
TARGETS = {"alone": "times_as_fast >= 0.95", "together": "times_as_fast >= 1.8"}
PLAIN, HIRES, MASKED, CONTROLLED = "plain", "two passes", "masked", "controlled"
MIXES = {f"{HIRES}, together": (PLAIN, HIRES), f"{MASKED} and {CONTROLLED}, together": (PLAIN, MASKED, CONTROLLED)}
"""Kinds of images that are asked for in turn."""
_WARM_UP = 3
"""Rounds that are not counted; a worker records passes of a shape that comes again and again."""


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
        parts = self._text.components | {"requires_safety_checker": False}
        network = diffusers.ControlNetModel.from_pretrained(str(CONTROL)).to(device.name, precision.denoiser)
        self._image: Any = diffusers.StableDiffusionImg2ImgPipeline(**parts)
        self._masked: Any = diffusers.StableDiffusionInpaintPipeline(**parts)
        self._controlled: Any = diffusers.StableDiffusionControlNetPipeline(**parts, controlnet=network)
        for pipeline in (self._text, self._image, self._masked, self._controlled):
            pipeline.set_progress_bar_config(disable=True)

    def draw_all(self, kinds: Sequence[str], seeds: Sequence[int]) -> None:
        """Images of these kinds, one after the other."""
        for kind, seed in zip(kinds, seeds, strict=True):
            self.draw(kind, seed)

    def draw(self, kind: str, seed: int) -> Image.Image:
        """One image of a kind."""
        same = {
            "prompt": PROMPTS[seed % len(PROMPTS)], "num_inference_steps": self._steps, "guidance_scale": 7.5,
            "generator": torch.Generator("cpu").manual_seed(seed),
        }  # fmt: skip
        small = {"width": FIRST, "height": FIRST}
        drawn: Image.Image
        if kind == MASKED:
            (drawn,) = self._masked(
                **same, **small, image=input_image(), mask_image=mask(), strength=REDRAWN
            ).images  # fmt: skip
        elif kind == CONTROLLED:
            (drawn,) = self._controlled(**same, **small, image=outline()).images
        else:
            (drawn,) = self._text(**same, **small).images
        if kind == HIRES:
            large = drawn.resize((LARGE, LARGE), Image.Resampling.LANCZOS)
            (drawn,) = self._image(**same, image=large, strength=STRENGTH).images
        return drawn


def body_of(kind: str, seed: int, steps: int) -> dict[str, Any]:
    """The request for the same image."""
    same = {
        "prompt": PROMPTS[seed % len(PROMPTS)], "seed": seed, "W": FIRST, "H": FIRST, "ddim_steps": steps,
        "return_base64": True, "skip_save": True, "synchronous_request": True,
    }  # fmt: skip
    if kind == MASKED:
        images = {"init_img": in_base64(input_image()), "mask": in_base64(mask())}
        return same | images | {"denoising_strength": REDRAWN}
    if kind == CONTROLLED:
        return same | {"hires": "off", "controlnet": [{"model": CONTROL.name, "image": in_base64(outline())}]}
    two_passes = {"scale": LARGE / FIRST, "strength": STRENGTH, "steps": steps}
    return same | {"hires": two_passes if kind == HIRES else "off"}


@cache
def input_image() -> Image.Image:
    """Of which a part is drawn anew."""
    return Image.effect_noise((FIRST, FIRST), 40).convert("RGB")


@cache
def mask() -> Image.Image:
    """The left half."""
    drawn = Image.new("L", (FIRST, FIRST))
    drawn.paste(255, (0, 0, FIRST // 2, FIRST))
    return drawn


@cache
def outline() -> Image.Image:
    """A triangle, white on black."""
    drawn = Image.new("RGB", (FIRST, FIRST))
    ImageDraw.Draw(drawn).regular_polygon((FIRST / 2, FIRST / 2, FIRST / 3), 3, outline="white")
    return drawn


def in_base64(image: Image.Image) -> str:
    """The image as requests carry it."""
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return base64.b64encode(encoded.getvalue()).decode()


def serve(service: Service, bodies: Sequence[Mapping[str, Any]]) -> None:
    """Ask for all of these at once, each on a connection of its own that waits for its image. Raises RuntimeError where
    one is not drawn."""
    with ThreadPoolExecutor(len(bodies)) as clients:
        for answer in clients.map(partial(_ask, service.url), bodies):
            if answer.status_code != HTTPStatus.OK:
                raise RuntimeError(f"an image was not drawn: {answer.status_code} {answer.text[:500]}")


def _ask(url: str, body: Mapping[str, Any]) -> requests.Response:
    return requests.post(
        url + ("/img2img" if "init_img" in body else "/generate"), json=body, timeout=600,
        headers={"X-API-Key": DUMMY_API_KEY},
    )  # fmt: skip


def serve_one_by_one(service: Service, bodies: Sequence[Mapping[str, Any]]) -> None:
    """The same, each asked for when the one before is drawn."""
    for body in bodies:
        serve(service, [body])


def timed(work: Callable[[], Any]) -> float:
    """Seconds that it takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(service: Service, stock: Stock, kinds: Sequence[str], steps: int, rounds: int) -> dict[str, Any]:
    """One image of each of `kinds`: at once by the service, one after the other by it and by the stock pipelines."""
    taken: dict[str, list[float]] = {"service": [], "stock": []}
    if len(kinds) > 1:
        taken["one_by_one"] = []
    for number in track(range(1 - _WARM_UP, rounds + 1), f"{len(kinds)} at once", console=Console(stderr=True)):
        seeds = [100 * (number + _WARM_UP) + place for place in range(len(kinds))]
        bodies = [body_of(kind, seed, steps) for kind, seed in zip(kinds, seeds, strict=True)]
        sides: Mapping[str, Callable[[], Any]] = {
            "service": partial(serve, service, bodies),
            "stock": partial(stock.draw_all, kinds, seeds),
            "one_by_one": partial(serve_one_by_one, service, bodies),
        }
        for side in list(taken)[:: 1 if number % 2 else -1]:
            seconds = timed(sides[side])
            if number > 0:
                taken[side].append(seconds)
    found: dict[str, Any] = {f"{side}_s": round(statistics.median(each), 3) for side, each in taken.items()}
    for side, name in (("stock", "times_as_fast"), ("one_by_one", "times_as_fast_as_one_by_one")):
        if side in taken:
            ratios = [theirs / ours for ours, theirs in zip(taken["service"], taken[side], strict=True)]
            found |= {
                name: round(statistics.median(ratios), 3),
                f"{name}_by_round": [round(each, 3) for each in ratios],
            }
    return found


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
    asked = {f"{kind}, alone": [kind] for kind in (HIRES, MASKED, CONTROLLED)} | {
        name: list(islice(cycle(kinds), at_once)) for name, kinds in MIXES.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        # the second start knows the step times of the first, as any but the first start does
        for start in ("first", "second"):
            with started(Path(folder) / start, redis_server, Path(folder) / "cache") as service:
                if start == "first":
                    for kinds in asked.values():
                        serve(service, [body_of(kind, 1, 2) for kind in kinds])
                    continue
                found = {name: compare(service, stock, kinds, steps, rounds) for name, kinds in asked.items()}
    Console(stderr=True).print(found)
    click.echo(report.write(name, {
        "machine": report.machine("cpu", threads) | {"load_at_the_start": round(busy, 2)},
        "sizes": f"{FIRST}x{FIRST}, then {LARGE}x{LARGE}", "strength": STRENGTH,
        "strength_under_a_mask": REDRAWN, "steps": steps, "rounds": rounds,
        "at_once": at_once, "targets": TARGETS, "measured": found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
