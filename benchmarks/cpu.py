"""How fast the `cpu` variant is: `python -m benchmarks.cpu`, against the stock diffusers pipeline at its defaults.

Each side lives in a process of its own, so that neither finds the other's switches set and each has its own peak of
memory. Each of ours is measured in a pair with the stock pipeline, the two drawing in turns, so that what else the
machine does hits both; never are there more than two models in memory. What OpenVINO converts is converted before, by
a process that has ended when the pair begins. Where the model's weights are not here, random ones are written first,
which changes neither time nor memory.
"""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import random_models, report
from shared.catalogue.entries import load_catalogue
from shared.request.sampling import SamplingParams
from shared.settings import OPENVINO, TORCH, Settings, limit_spinning
from worker.acceleration.openvino import BackendUnavailable, require_openvino
from worker.hardware.cores import available_cores
from worker.hardware.devices import pick_device
from worker.hardware.variants import FULL, choose_precision, profile_for

PROMPT = "a red circle on a blue background"
SEED = 1
SCALE = 7.5
# what one image stands for in the report, however few steps were measured
_USUAL_STEPS = 20
_LONGEST_S = 3600.0
# the sides: the stock pipeline, or a precision of ours, and its backend where that is not torch
STOCK = "stock"
_BY = " by "


@dataclass(frozen=True)
class Case:
    """What is drawn. `size` in pixels a side; `compiled` is a folder for what OpenVINO makes of the model."""

    model: str
    folder: Path
    compiled: Path
    size: int
    steps: int
    threads: int


@dataclass(frozen=True)
class Run:
    """One image: seconds in all, and from the end of each step to that of the next.

    `processor` is what all threads together computed in each of those, which other programs lengthen less.
    """

    seconds: float
    steps: list[float]
    processor: list[float]
    image: Image.Image


Paint = Callable[[], Run]
Instant = tuple[float, float]
"""The time, and the processor time of this process, in seconds."""

# in each side's own process
_side: dict[str, Paint] = {}


def _stock(case: Case) -> Paint:
    """The stock pipeline in float32, as `from_pretrained` gives it, with the table's DDIM scheduler."""
    import diffusers

    torch.set_num_threads(case.threads)
    pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(
        str(case.folder), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        dtype=torch.float32,
    )  # fmt: skip
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(
        pipeline.scheduler.config, clip_sample=False, set_alpha_to_one=False
    )
    pipeline.set_progress_bar_config(disable=True)

    def paint() -> Run:
        ends: list[Instant] = []

        def on_step(_pipeline: Any, _step: int, _timestep: Any, _arguments: dict[str, Any]) -> dict[str, Any]:
            ends.append(_now())
            return {}

        started = time.perf_counter()
        made = pipeline(
            prompt=PROMPT, negative_prompt="", width=case.size, height=case.size, num_inference_steps=case.steps,
            guidance_scale=SCALE, generator=torch.Generator("cpu").manual_seed(SEED), callback_on_step_end=on_step,
        )  # fmt: skip
        return _run(started, ends, made.images[0])

    return paint


def _ours(case: Case, precision: str, backend: str) -> Paint:
    """The engine of a CPU worker."""
    from worker.engine import DenoiseRequest, Engine

    settings = Settings(
        device="cpu", models_dir=case.folder.parent, torch_threads=case.threads, cpu_backend=backend,
        compile_cache_dir=case.compiled,
    )  # fmt: skip
    engine = Engine(settings, load_catalogue(case.model))
    engine.start()
    params = SamplingParams(
        model=case.model, sampler="ddim", steps=case.steps, guidance_scale=SCALE, width=case.size, height=case.size,
        precision=precision,
    )  # fmt: skip
    request = DenoiseRequest(params, PROMPT, noise_seed=SEED, step_seed=SEED)
    # the model is loaded with the first request
    small = replace(request, params=replace(params, width=64, height=64, steps=1))
    first = engine.submit(small, lambda *_: None).result(_LONGEST_S)
    if first.warnings:
        raise click.ClickException(" ".join(first.warnings))

    def paint() -> Run:
        ends: list[Instant] = []
        started = time.perf_counter()
        ticket = engine.submit(request, lambda _step, _steps: ends.append(_now()))
        return _run(started, ends, ticket.result(_LONGEST_S).image)

    return paint


def _now() -> Instant:
    return time.perf_counter(), time.process_time()


def _run(started: float, ends: list[Instant], image: Image.Image) -> Run:
    seconds = time.perf_counter() - started
    steps, processor = ([later[kind] - sooner[kind] for sooner, later in pairwise(ends)] for kind in (0, 1))
    return Run(seconds, steps, processor, image)


def _set_up(side: str, case: Case) -> None:
    precision, _, backend = side.partition(_BY)
    _side["paint"] = _stock(case) if side == STOCK else _ours(case, precision, backend or TORCH)


def _paint() -> Run:
    return _side["paint"]()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _decibels(one: Image.Image, two: Image.Image) -> float | None:
    """PSNR; None when the images are equal."""
    first, second = (np.asarray(image, dtype=float) for image in (one, two))
    error = float(np.mean((first - second) ** 2))
    return round(float(10 * np.log10(255**2 / error)), 1) if error else None


def _figures(runs: list[Run], stock: list[Run], peak: int, steps: int) -> dict[str, Any]:
    """Medians; the ratios are those of the pairs."""
    call = statistics.median(time for run in runs for time in run.steps)
    rest = statistics.median(run.seconds - steps * statistics.median(run.steps) for run in runs)
    usual, stock_usual = ([_at_usual_steps(run, steps) for run in side] for side in (runs, stock))
    return {
        "unet_call_s": call,
        "unet_call_processor_s": statistics.median(time for run in runs for time in run.processor),
        "text_and_vae_s": rest,
        f"picture_of_{steps}_steps_s": statistics.median(run.seconds for run in runs),
        f"picture_of_{_USUAL_STEPS}_steps_s": statistics.median(usual),
        "unet_call_gain": statistics.median(
            statistics.median(other.steps) / statistics.median(run.steps)
            for run, other in zip(runs, stock, strict=True)
        ),
        "picture_gain": statistics.median(other / own for own, other in zip(usual, stock_usual, strict=True)),
        "psnr_against_stock_db": _decibels(runs[0].image, stock[0].image),
        "peak_memory_gb": peak / 1e9,
    }


def _at_usual_steps(run: Run, steps: int) -> float:
    """Seconds for the usual number of steps: measured, or with the missing forward passes added."""
    return run.seconds + (_USUAL_STEPS - steps) * statistics.median(run.steps)


def measure(case: Case, rounds: int, sides: tuple[str, ...], console: Console) -> dict[str, Any]:
    """The figures of the stock pipeline and of each of `sides`, one pair after the other."""
    found: dict[str, Any] = {}
    for side in sides:
        if side.endswith(_BY + OPENVINO):
            console.print(f"converting for {side}")
            conversion_peak = _converted(case, side)
        stock, ours, peaks = _pair(case, rounds, side, console)
        found.setdefault(STOCK, _figures(stock, stock, peaks[STOCK], case.steps))
        found[side] = _figures(ours, stock, peaks[side], case.steps)
        if side.endswith(_BY + OPENVINO):
            found[side]["conversion_peak_gb"] = conversion_peak / 1e9
    return found


def _process(side: str, case: Case) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, mp_context=context, initializer=_set_up, initargs=(side, case))


def _converted(case: Case, side: str) -> int:
    """Load the side once, so that its conversion lies in `case.compiled`; the peak of memory, in bytes."""
    with _process(side, case) as pool:
        return pool.submit(_peak_bytes).result()


def _pair(case: Case, rounds: int, side: str, console: Console) -> tuple[list[Run], list[Run], dict[str, int]]:
    """What the stock pipeline and `side` drew in turns, and their peaks of memory in bytes.

    Of several rounds the first, in which they warm up, does not count.
    """
    pools = {each: _process(each, case) for each in (STOCK, side)}
    runs: dict[str, list[Run]] = {each: [] for each in pools}
    try:
        for _ in track(range(rounds), f"drawing: {STOCK} and {side}", console=console):
            for each, pool in pools.items():
                runs[each].append(pool.submit(_paint).result())
        peaks = {each: pool.submit(_peak_bytes).result() for each, pool in pools.items()}
    finally:
        for pool in pools.values():
            pool.shutdown()
    counted = {each: made[1:] or made for each, made in runs.items()}
    return counted[STOCK], counted[side], peaks


@click.command()
@click.option("--model", default="sd15", show_default=True, type=click.Choice(["sd15", "sd21v", "demo"]))
@click.option("--models-dir", type=click.Path(path_type=Path), help="With the model's weights; else they are written.")
@click.option("--size", default=512, show_default=True, help="Pixels a side.")
@click.option("--steps", default=_USUAL_STEPS, show_default=True, type=click.IntRange(3))
@click.option("--rounds", default=2, show_default=True)
@click.option(
    "--backend",
    "backends",
    multiple=True,
    type=click.Choice([TORCH, OPENVINO]),
    help="Of ours, once or twice; else torch, and openvino where it is installed. Each has a model in memory.",
)
@click.option("--note", default="", help="What a reader must know besides, such as what else the machine was doing.")
@click.option("--name", default="cpu", show_default=True, help="Of the file in benchmarks/results.")
def main(
    model: str,
    models_dir: Path | None,
    size: int,
    steps: int,
    rounds: int,
    backends: tuple[str, ...],
    note: str,
    name: str,
) -> None:
    """Measure, print a table, keep the results. With fewer steps than 20 the time of an image is extrapolated."""
    limit_spinning()
    try:
        if OPENVINO in backends or not backends:
            require_openvino()
        backends = backends or (TORCH, OPENVINO)
    except BackendUnavailable as missing:
        if backends:
            raise click.UsageError(str(missing)) from None
        backends = (TORCH,)
    console = Console(stderr=True)
    catalogued, threads = load_catalogue(model).default, available_cores()
    device = pick_device("cpu")
    default = choose_precision(None, profile_for("cpu", device), device).word
    precisions = (FULL,) if default == FULL else (FULL, default)
    endings = [_BY + backend if backend != TORCH else "" for backend in backends]
    sides = tuple(precision + ending for ending in endings for precision in precisions)
    setting: dict[str, Any] = {
        "model": model,
        "size": size,
        "steps": steps,
        "scale": SCALE,
        "sampler": "ddim",
        "rounds": rounds,
    }
    if OPENVINO in backends:
        setting["openvino"] = version(OPENVINO)
    with TemporaryDirectory() as own:
        folder = catalogued.place(models_dir or Path(own))
        if folder is None:
            folder = Path(own) / model
            console.print(f"writing {model} with random weights")
            random_models.write(model, folder)
        found = measure(Case(model, folder, Path(own), size, steps, threads), rounds, sides, console)
    if steps < _USUAL_STEPS:
        setting["extrapolated"] = f"{_USUAL_STEPS} steps: {steps} were drawn, and the missing forward passes added"
    if note:
        setting["note"] = note
    console.print(_table(found))
    click.echo(report.write(name, {
        "machine": report.machine("cpu", threads), "setting": setting, "default_precision": default, **found,
    }))  # fmt: skip


def _table(found: dict[str, Any]) -> Table:
    table = Table("", *found)
    for what in found[STOCK]:
        cells = [figures.get(what) for figures in found.values()]
        table.add_row(what, *("equal" if cell is None else f"{cell:.2f}" for cell in cells))
    return table


if __name__ == "__main__":
    main()
