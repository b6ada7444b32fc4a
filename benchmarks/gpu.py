"""What the GPU variants do: `python -m benchmarks.gpu`, images a second for 1 to 32 requests at once, and memory.

Runs on whatever DEVICE says (on a CPU both variants are the `cpu` one, and there is no peak of memory to report).
"""

import gc
import time
from dataclasses import replace
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import track

from benchmarks import report
from shared.catalogue.models import load_catalogue
from shared.request.sampling import SamplingParams
from shared.settings import Settings, keep_compiled_kernels, read_settings
from worker.engine import DenoiseRequest, Engine
from worker.hardware.devices import pick_device

ON_A_GPU = ("standard", "optimized")
COUNTS = (1, 2, 4, 8, 16, 32)
PROMPT = "a red circle on a blue background"


def images(engine: Engine, request: DenoiseRequest, count: int) -> float:
    """Seconds for so many images that are asked for at once."""
    started = time.perf_counter()
    tickets = [engine.submit(replace(request, noise_seed=seed), lambda *_: None) for seed in range(count)]
    for ticket in tickets:
        ticket.result()
    return time.perf_counter() - started


def measure(settings: Settings, request: DenoiseRequest, counts: tuple[int, ...], console: Console) -> dict[str, Any]:
    """One variant: after a warm-up at each count, which is also when the engine learns what to share."""
    on_cuda = pick_device(settings.device).kind == "cuda"
    if on_cuda:
        torch.cuda.reset_peak_memory_stats()
    engine = Engine(settings, load_catalogue(request.params.model))
    engine.start()
    found = []
    for count in track(counts, settings.worker_variant, console=console):
        images(engine, request, count)
        seconds = images(engine, request, count)
        found.append({"at_once": count, "pictures_per_s": count / seconds, "s_per_picture": seconds / count})
    engine.stop()
    peak = torch.cuda.max_memory_allocated() / 1e9 if on_cuda else None
    # the models go with the engine, so that the next variant finds the device empty
    del engine
    gc.collect()
    if on_cuda:
        torch.cuda.empty_cache()
    return {"throughput": found, "peak_memory_gb": peak}


@click.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--size", default=0, help="Pixels a side; 0: the model's native size.")
@click.option("--steps", default=20, show_default=True)
@click.option("--most", default=COUNTS[-1], show_default=True, help="Requests at once.")
@click.option("--name", default="gpu_variants", show_default=True, help="Of the file in benchmarks/results.")
def main(model: str, size: int, steps: int, most: int, name: str) -> None:
    """Measure both variants, keep the results. The settings of the environment apply (DEVICE, TORCH_COMPILE, ...)."""
    console, settings = Console(stderr=True), read_settings()
    keep_compiled_kernels(settings.compile_cache_dir)
    chosen, device = load_catalogue(model).default, pick_device(settings.device)
    side = size or chosen.native_size
    params = SamplingParams(
        model=chosen.name, sampler="ddim", steps=steps, guidance_scale=7.5, width=side, height=side
    )  # fmt: skip
    request = DenoiseRequest(params, PROMPT, noise_seed=0, step_seed=0)
    counts = tuple(count for count in COUNTS if count <= most)
    results = {
        variant: measure(replace(settings, worker_variant=variant), request, counts, console) for variant in ON_A_GPU
    }
    console.print(results)
    click.echo(report.write(name, {
        "machine": report.machine(device.name, torch.get_num_threads()),
        "setting": {"model": chosen.name, "size": side, "steps": steps, "scale": 7.5, "sampler": "ddim",
                    "compiled": settings.torch_compile},
        **results,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
