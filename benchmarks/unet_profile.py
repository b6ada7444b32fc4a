"""Where the time of a forward pass goes, and how far that is from what the device can do:
`python -m benchmarks.unet_profile`.

For 1 to 32 guided requests: the operations' shares, and the arithmetic rate against that of a large matrix product. The
ratio of the two says how much more any sharing of forward passes could gain.
"""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import click
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import report
from shared.catalogue.entries import load_catalogue
from shared.request.schemas import PRECISIONS
from shared.settings import read_settings
from worker.families.unet import denoise
from worker.hardware.devices import pick_device
from worker.hardware.variants import choose_precision, profile_for
from worker.models.cache import CheckpointCache
from worker.text.conditioning import TEXT

_TOP = 8


def median_s(call: Callable[[], object], synchronise: Callable[[], None], rounds: int) -> float:
    """Median seconds of a forward pass, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        call()
        synchronise()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


@click.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--size", default=0, help="Pixels a side; 0: the model's native size.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--precision", "asked_for", type=click.Choice(PRECISIONS), help="As a request would ask for it.")
@click.option("--name", default="unet_profile", show_default=True, help="Of the file in benchmarks/results.")
@torch.no_grad()
def main(model: str, size: int, rounds: int, asked_for: str | None, name: str) -> None:
    """Measure, print a table, keep the results."""
    settings, catalogue = read_settings(), load_catalogue(model)
    device = pick_device(settings.device)
    profile = profile_for(settings.worker_variant, device)
    precision = choose_precision(asked_for, profile, device)
    checkpoint = CheckpointCache(settings, catalogue, device, profile).get(catalogue.default.name, precision, ())
    facts = catalogue.default.facts
    unet, side = checkpoint.parts.denoiser, (size or catalogue.default.native_size) // facts.downsampling_factor
    where: dict[str, Any] = {"device": device.name, "dtype": unet.dtype}
    square = torch.randn(2048, 2048, **where)
    peak = 2 * 2048**3 / median_s(lambda: square @ square, device.synchronise, rounds)
    points = []
    table = Table("requests", "ms a request", "GFLOP/s", "of the peak", "most of the time in")
    for requests in (1, 2, 4, 8, 16, 32):
        items = 2 * requests
        latents = torch.randn(items, facts.latent_channels, side, side, **where)
        timesteps = torch.full((items,), 500.0, device=device.name)
        context = checkpoint.project_text(torch.randn(items, 77, unet.config.cross_attention_dim, **where))

        def call(latents: Any = latents, timesteps: Any = timesteps, context: Any = context) -> object:
            return checkpoint.run_batch(partial(denoise, unet), latents, timesteps, {TEXT: context})

        # counter and profiler see the operations of their own thread only: not those of items that threads share out
        forward = partial(denoise, unet, latents, timesteps, {TEXT: context})
        with FlopCounterMode(display=False) as counter:
            forward()
        seconds = median_s(call, device.synchronise, rounds)
        with torch.profiler.profile() as profiler:
            forward()
        events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        shares = {
            event.key.removeprefix("aten::"): round(event.self_cpu_time_total / total, 3) for event in events[:_TOP]
        }
        rate = counter.get_total_flops() / seconds
        points.append(
            {
                "requests": requests,
                "ms_a_request": round(1000 * seconds / requests, 2),
                "gflop_a_request": round(counter.get_total_flops() / requests / 1e9, 3),
                "gflops": round(rate / 1e9, 1),
                "share_of_peak": round(rate / peak, 3),
                "operations": shares,
            }
        )
        most = ", ".join(f"{key} {100 * share:.0f} %" for key, share in list(shares.items())[:3])
        table.add_row(
            str(requests), f"{points[-1]['ms_a_request']}", f"{rate / 1e9:.0f}", f"{100 * rate / peak:.0f} %", most
        )
    console = Console(stderr=True)
    console.print(table)
    gain = points[0]["ms_a_request"] / min(point["ms_a_request"] for point in points)
    bound = points[0]["ms_a_request"] / (1e3 * points[0]["gflop_a_request"] * 1e9 / peak)
    console.print(f"peak {peak / 1e9:.0f} GFLOP/s; sharing gains {gain:.2f}x, at the peak it would gain {bound:.2f}x")
    click.echo(report.write(name, {
        "machine": report.machine(device.name, torch.get_num_threads()), "model": catalogue.default.name,
        "size": side * facts.downsampling_factor, "precision": precision.word, "peak_gflops": round(peak / 1e9, 1),
        "gain": round(gain, 2), "gain_at_peak": round(bound, 2), "points": points,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
