"""From which size on a UNet call gains by more threads: `python -m benchmarks.call_threads`.

The demo model's UNet, by picture size and rows, with one thread and with all; they take turns, medians are kept.
"""

import os
import statistics
import time
from typing import Any

import click
import torch
from diffusers import UNet2DConditionModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import report
from shared.models import DOWNSAMPLING_FACTOR, load_catalogue
from shared.settings import read_settings
from worker.cpu import threads_worth

SIDES, ROWS = (64, 128, 256, 512), (2, 4, 8, 16)
# larger calls gain by threads in any case, and take long
_MOST_PIXELS = 8 * 512 * 512


def seconds(unet: Any, side: int, rows: int, rounds: int, threads: tuple[int, int]) -> tuple[float, float]:
    """Median seconds of a call with fewer and with more threads."""
    latents = side // DOWNSAMPLING_FACTOR
    sample, context = torch.randn(rows, 4, latents, latents), torch.randn(rows, 77, unet.config.cross_attention_dim)
    taken: dict[int, list[float]] = {count: [] for count in threads}
    for _ in range(rounds):
        for count in threads:
            torch.set_num_threads(count)
            unet(sample, 10, context)  # the change itself is not what is measured
            started = time.perf_counter()
            unet(sample, 10, context)
            taken[count].append(time.perf_counter() - started)
    return statistics.median(taken[threads[0]]), statistics.median(taken[threads[1]])


@click.command()
@click.option("--rounds", default=9, show_default=True)
def main(rounds: int) -> None:
    """Measure, print a table, keep the results."""
    console = Console(stderr=True)
    model = load_catalogue("demo").default
    unet = UNet2DConditionModel.from_pretrained(f"{model.place(read_settings().models_dir)}/unet").eval()
    weights, everything = sum(weight.numel() for weight in unet.parameters()), torch.get_num_threads()
    sizes = [(side, rows) for side in SIDES for rows in ROWS if side * side * rows <= _MOST_PIXELS]
    table = Table("pixels a side", "rows", "1 thread, ms", f"{everything} threads, ms", "gain", "threads used")
    found = []
    with torch.inference_mode():
        for side, rows in track(sizes, "measuring", console=console):
            one, all_of_them = seconds(unet, side, rows, rounds, (1, everything))
            used = min(everything, threads_worth(weights * rows * (side // DOWNSAMPLING_FACTOR) ** 2))
            found.append({
                "side": side, "rows": rows, "one_thread_ms": round(1000 * one, 1),
                "all_threads_ms": round(1000 * all_of_them, 1), "gain": round(one / all_of_them, 2), "used": used,
            })  # fmt: skip
            table.add_row(*(str(value) for value in found[-1].values()))
    console.print(table)
    machine = report.machine("cpu", everything) | {
        name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT") if name in os.environ
    }
    click.echo(report.write("call_threads", {"machine": machine, "model": model.name, "calls": found}))


if __name__ == "__main__":
    main()
