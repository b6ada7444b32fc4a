"""What threads gain in a forward pass, and how they are best used: `python -m benchmarks.call_threads`.

By image size and batch items: one thread, all threads on each operation, the items shared out among the threads. The
ways take turns, medians are kept. `--model sd15` takes random weights in that layout, and many minutes.
"""

import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import torch
from diffusers import UNet2DConditionModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import random_models, report
from benchmarks.processes import SPINNING, wait_as_workers_do
from shared.catalogue.entries import load_catalogue
from shared.catalogue.families import FAMILY_FACTS
from shared.settings import read_settings
from worker.acceleration import cpu
from worker.acceleration.blocks import simplify_blocks
from worker.acceleration.split_batch import Sharing, SplitBatch, sharing
from worker.acceleration.text_projection import TextProjection
from worker.families.unet import denoise
from worker.text.conditioning import TEXT

_DEMO = "demo"
_FACTS = FAMILY_FACTS["sd1"]
# pixels a side, and batch items; larger batches gain in any case, and take long
_SIZES = {
    _DEMO: [(side, rows) for side in (64, 128, 256, 512) for rows in (2, 4, 8, 16, 32) if side**2 * rows <= 2**21],
    "sd15": [(256, 2), (512, 2)],
}


def unet_of(model: str) -> Any:
    """The demo model's, or one with random weights, prepared as a worker does with a model of its size."""
    if model == _DEMO:
        demo = load_catalogue(_DEMO).default
        unet = UNet2DConditionModel.from_pretrained(f"{demo.place(read_settings().models_dir)}/unet").eval()
    else:
        unet = next(part for name, part in random_models.parts(model) if name == "unet").eval()
        cpu.speed_up_unet(unet)
    simplify_blocks(unet)
    return unet


def ways(unet: Any, threads: int) -> dict[str, Callable[..., Any]]:
    """The UNet's forward pass in each of the three ways."""
    weights = sum(weight.numel() for weight in unet.parameters())

    def all_rows(parts: int) -> Callable[[int, int, int], Sharing]:
        return lambda _work, rows, _threads: Sharing(min(parts, rows), max(1, threads // min(parts, rows)))

    one_pass = partial(denoise, unet)
    return {
        "one thread": partial(SplitBatch(weights, lambda *_: Sharing(1, 1)), one_pass),
        "each operation": partial(SplitBatch(weights, all_rows(1)), one_pass),
        "rows": partial(SplitBatch(weights, all_rows(threads)), one_pass),
    }


def seconds(
    forwards: dict[str, Callable[..., Any]], text: torch.Tensor, side: int, rows: int, rounds: int
) -> dict[str, float]:
    """Median seconds of a forward pass, by way."""
    latents = side // _FACTS.downsampling_factor
    sample, context = torch.randn(rows, _FACTS.latent_channels, latents, latents), text.repeat(rows, 1, 1)
    taken: dict[str, list[float]] = {way: [] for way in forwards}
    for _ in range(rounds):
        for way, forward in forwards.items():
            for _ in range(2):  # the change itself is not what is measured
                started = time.perf_counter()
                forward(sample, torch.full((rows,), 10), {TEXT: context})
            taken[way].append(time.perf_counter() - started)
    return {way: statistics.median(times) for way, times in taken.items()}


@click.command()
@click.option("--model", type=click.Choice(list(_SIZES)), default=_DEMO, show_default=True)
@click.option("--rounds", default=9, show_default=True)
def main(model: str, rounds: int) -> None:
    """Measure, print a table, keep the results."""
    console = Console(stderr=True)
    threads = torch.get_num_threads()
    unet = unet_of(model)
    text = TextProjection(unet)(torch.randn(1, 77, unet.config.cross_attention_dim))
    weights = sum(weight.numel() for weight in unet.parameters())
    forwards = ways(unet, threads)
    table = Table("pixels a side", "rows", *(f"{way}, ms" for way in forwards), "parts used", "threads of each")
    found = []
    for side, rows in track(_SIZES[model], "measuring", console=console):
        taken = seconds(forwards, text, side, rows, rounds)
        used = sharing(weights * rows * (side // _FACTS.downsampling_factor) ** 2, rows, threads)
        found.append({
            "side": side, "rows": rows, **{f"{way}, ms": round(1000 * value, 1) for way, value in taken.items()},
            "parts": used.parts, "threads": used.threads,
        })  # fmt: skip
        table.add_row(*map(str, found[-1].values()))
    console.print(table)
    machine = report.machine("cpu", threads) | {name: os.environ[name] for name in SPINNING if name in os.environ}
    click.echo(report.write(f"call_threads_{model}", {"machine": machine, "rounds": rounds, "calls": found}))


if __name__ == "__main__":
    wait_as_workers_do("benchmarks.call_threads")
    main()
