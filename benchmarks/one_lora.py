"""What one LoRA costs a single image of a full-size model: `python -m benchmarks.one_lora`, with random weights.

The layout of Stable Diffusion 1.5, drawn guided by one engine as a CPU worker draws: without a LoRA, and with one of
rank 8 and of rank 32 of all layers of attention and feed-forward, in turns. The times are those of the forward passes
behind the first, of which a worker does nothing else; texts and decoding do not count, for they would hide the rest.

`--narrow` draws small images with the demo model, to see that it works; then nothing is kept.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from benchmarks import random_models, report
from benchmarks.adapters import RANKS, write_loras_of
from benchmarks.fresh_process import in_fresh_process
from shared.catalogue.library import Library
from shared.errors import JobCancelled
from shared.request.adapters import Lora
from shared.request.sampling import SamplingParams
from shared.settings import Settings, limit_spinning
from worker.hardware.cores import available_cores

PLAIN, NAME, NARROW = "no LoRA", "one_lora", "demo"
_MODEL = "sd15"
_LONGEST_S = 3600.0


def write(folder: Path, narrow: bool) -> None:
    """The model, unless it is the bundled one, and the LoRAs."""
    from demo_model.release import WEIGHTS

    if not narrow:
        random_models.write(_MODEL, folder / _MODEL)
    write_loras_of(WEIGHTS if narrow else folder / _MODEL, folder / "Lora", 1)


def measure(folder: Path, model: str, size: int, steps: int, rounds: int) -> dict[str, Any]:
    """Seconds of a forward pass of each way to draw in each round, in a fresh process."""
    from worker.engine import DenoiseRequest, Engine

    threads = available_cores()
    settings = Settings(
        device="cpu", models_dir=folder, compile_cache_dir=folder / "cache", default_model=model, torch_threads=threads
    )
    engine = Engine(settings, Library(settings).catalogue)
    engine.start()
    usual = SamplingParams(model=model, sampler="ddim", steps=2, guidance_scale=7.5, width=size, height=size)
    ways = {PLAIN: (), **{f"a LoRA of rank {rank}": (Lora(f"rank-{rank}-0", 0.5, 0.5),) for rank in RANKS}}

    def pass_s(loras: tuple[Lora, ...], steps: int) -> float:
        told = list[float]()
        params = replace(usual, steps=steps, loras=loras)

        def note(step: int, steps: int) -> None:
            told.append(time.perf_counter())
            if step == steps:
                ticket.cancel()  # nothing is decoded

        ticket = engine.submit(DenoiseRequest(params, "a cat", noise_seed=0, step_seed=0), note)
        with contextlib.suppress(JobCancelled):
            ticket.result(_LONGEST_S)
        return (told[-1] - told[0]) / (len(told) - 1)

    try:
        for loras in ways.values():
            pass_s(loras, usual.steps)
        taken: dict[str, list[float]] = {way: [] for way in ways}
        for number in track(range(rounds), "one LoRA", console=Console(stderr=True)):
            # in turns both ways, so that what grows slower with time does so for all
            for way, loras in list(ways.items())[:: 1 if number % 2 else -1]:
                taken[way].append(pass_s(loras, steps))
    finally:
        engine.stop()
    return summary(taken)


def summary(taken: Mapping[str, list[float]]) -> dict[str, Any]:
    """The medians, and those of the rounds' ratios to drawing without a LoRA."""
    plain = taken[PLAIN]
    return {
        "pass_s": {way: [round(each, 4) for each in seconds] for way, seconds in taken.items()},
        "median_s": {way: round(statistics.median(seconds), 4) for way, seconds in taken.items()},
        "times_no_lora": {
            way: round(statistics.median(own / other for own, other in zip(seconds, plain, strict=True)), 3)
            for way, seconds in taken.items()
        },
    }


@click.command()
@click.option("--size", default=512, show_default=True)
@click.option("--steps", default=3, show_default=True, help="Forward passes of an image, 2 at least.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--narrow", is_flag=True, help="See above.")
@click.option("--note", default="", help="What a reader must know besides, such as what else the machine was doing.")
def main(size: int, steps: int, rounds: int, narrow: bool, note: str) -> None:
    """Write model and LoRAs into a temporary folder, measure, keep the results."""
    limit_spinning()
    with TemporaryDirectory() as name:
        folder = Path(name)
        in_fresh_process(write, folder, narrow)
        model, side = (NARROW, 64) if narrow else (_MODEL, size)
        found = in_fresh_process(measure, folder, model, side, steps, rounds)
    if narrow:
        click.echo(json.dumps(found))
        return
    described: dict[str, Any] = {"machine": report.machine("cpu", available_cores())}
    described |= {"model": f"the layout of {_MODEL}", "size": f"{size}x{size}", "steps": steps, "sampler": "ddim"}
    Console(stderr=True).print(found["times_no_lora"])
    click.echo(report.write(NAME, {**described, **found} | ({"note": note} if note else {})))


if __name__ == "__main__":
    main()
