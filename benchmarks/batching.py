"""How far an image generated in a mixed batch is from the one generated alone: `python -m benchmarks.batching`.

Requests of every kind arrive at random moments; each is then compared with its solo run on the same engine. All that
can share a forward pass do, whether or not that would pay, because the difference is what is looked for.
"""

import random
import statistics
import time
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track

from benchmarks import report
from shared.catalogue.entries import load_catalogue
from shared.catalogue.samplers import SAMPLERS
from shared.request.sampling import SamplingParams
from shared.settings import read_settings
from worker.engine import DenoiseRequest, Engine
from worker.engine.step_times import StepTimes

PROMPTS = (
    "a red circle on a blue background",
    "a (yellow:1.4) star [left of] a green heart",
    "a house:0.3 a tree:0.7",
    "",
    "a photo of a small purple triangle " * 12,
)


def random_request(
    rng: random.Random,
    models: tuple[str, ...],
    prompts: tuple[str, ...],
    sides: tuple[int, ...],
    most_steps: int,
    precision: str | None = None,
) -> DenoiseRequest:
    """A request that may differ from the next in everything; three in ten start from an image."""
    width, height = rng.choice(sides), rng.choice(sides)
    image = rng.random() < 0.3
    values = np.random.default_rng(rng.getrandbits(32)).integers(0, 255, (height, width, 3), dtype=np.uint8)
    model, prompt, negative_prompt = rng.choice(models), rng.choice(prompts), rng.choice(prompts)
    sampler, steps = rng.choice(list(SAMPLERS)), rng.randint(3, most_steps)
    guidance_scale, eta = rng.choice((1.0, 3.0, 7.5, 12.0, -2.0)), rng.choice((0.0, 0.5, 1.0))
    noise_seed, step_seed = rng.getrandbits(32), rng.getrandbits(32)
    params = SamplingParams(
        model=model,
        negative_prompt=negative_prompt,
        sampler=sampler,
        steps=steps,
        guidance_scale=guidance_scale,
        eta=eta,
        width=width,
        height=height,
        strength=rng.choice((0.3, 0.75, 1.0)) if image else 1.0,
        noise_multiplier=rng.choice((0.9, 1.0)) if image else 1.0,
        precision=precision,
        unet_bs=rng.choice((None, None, None, 1, 4)),
    )
    return DenoiseRequest(params, prompt, noise_seed, step_seed, Image.fromarray(values) if image else None)


def compare(engine: Engine, requests: list[DenoiseRequest], console: Console) -> list[dict[str, Any]]:
    """For each request the largest difference (levels of 255) and the PSNR between its two images."""
    rng = random.Random(0)
    solo = [
        engine.submit(request, lambda *_: None).result().image for request in track(requests, "alone", console=console)
    ]
    # the engine offers no such choice, which nobody else wants
    with patch.object(StepTimes, "share", lambda _, items: len(items)):
        tickets = []
        for request in requests:
            tickets.append(engine.submit(request, lambda *_: None))
            time.sleep(rng.random() * 0.1)
        together = [ticket.result().image for ticket in tickets]
    found = []
    for request, *images in zip(requests, solo, together, strict=True):
        pixels = [np.asarray(image, dtype=float) for image in images]
        error = float(np.mean((pixels[0] - pixels[1]) ** 2))
        found.append(
            {
                "sampler": request.params.sampler,
                "steps": request.params.steps,
                "size": f"{request.params.width}x{request.params.height}",
                "levels": float(np.abs(pixels[0] - pixels[1]).max()),
                "psnr_db": None if error == 0 else round(float(10 * np.log10(255**2 / error)), 1),
            }
        )
    return found


@click.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--count", default=32, show_default=True)
@click.option("--steps", default=50, show_default=True, help="The most steps of a request.")
@click.option("--side", "sides", multiple=True, type=int, default=(64, 128, 192), show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--half", is_flag=True, help="In 16 bits, also on a processor that is slow at them; otherwise in 32.")
@click.option("--name", default="batching", show_default=True, help="Of the file in benchmarks/results.")
def main(model: str, count: int, steps: int, sides: tuple[int, ...], seed: int, half: bool, name: str) -> None:
    """Draw everything twice, print the summary, keep the results."""
    if half:
        torch.cpu._is_avx512_bf16_supported = lambda: True
    console = Console(stderr=True)
    settings = read_settings()
    engine = Engine(settings, load_catalogue(model))
    engine.start()
    rng = random.Random(seed)
    precision = "autocast" if half else "full"
    requests = [random_request(rng, (model,), PROMPTS, sides, steps, precision) for _ in range(count)]
    found = compare(engine, requests, console)
    engine.stop()
    finite = [image["psnr_db"] for image in found if image["psnr_db"] is not None]
    summary = {
        "requests": count,
        "equal": count - len(finite),
        "worst_psnr_db": min(finite, default=None),
        "median_psnr_db": round(statistics.median(finite), 1) if finite else None,
        "largest_difference_levels": max(image["levels"] for image in found),
    }
    console.print(summary)
    machine = report.machine(settings.device, torch.get_num_threads())
    click.echo(report.write(name, {
        "machine": machine, "precision": precision, "model": model, "summary": summary, "requests": found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
