"""What a GPU does, within minutes: `python -m benchmarks.gpu`.

In this order, so that the first figures are there if time runs out, and the file is written after each:

1. `standard` at each size: images a second for 1 to 32 requests in one batch, how far each image is from the one made
   alone, the peak of memory; one alone against the stock pipeline, and how far its image is from that one's;
2. `optimized` at each size: one alone, and the peak of memory;
3. the stock pipeline compiled, one alone; and the engine with TORCH_COMPILE, for some batches, at the first size.

Runs on whatever DEVICE says; on a CPU both variants are the `cpu` one, and there is no peak of memory to report.
"""

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks import report
from benchmarks.engine import Ours, Setting, StockPipeline, timed
from shared.catalogue.entries import load_catalogue
from shared.settings import Settings, keep_compiled_kernels, read_settings
from worker.engine.step_times import StepTimes
from worker.hardware.devices import Device, pick_device

COUNTS = (1, 2, 4, 8, 16, 32)
# each takes its time to compile
COMPILED_COUNTS = (1, 8, 32)
# images of each batch that are compared with those made alone
COMPARED = 2
# runs of which the middle one counts, where there are few requests
RUNS, FEW = 3, 4
# what an image takes that nobody has made yet, to know whether time is left for it
UNKNOWN_S = 5.0


class Budget:
    """The seconds that are left; what was left out for want of them."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.left_out: list[str] = []

    def allows(self, what: str, seconds: float) -> bool:
        """Whether `what` would end in time; noted if not."""
        if time.monotonic() + seconds <= self._end:
            return True
        self.left_out.append(what)
        return False


class Bench:
    """Measures one device with one model."""

    def __init__(self, settings: Settings, device: Device, setting: Setting, budget: Budget) -> None:
        self._settings = settings
        self._device = device
        self._setting = setting
        self._budget = budget
        self._alone: dict[tuple[int, int], Image.Image] = {}

    @contextmanager
    def engine(self, **different: Any) -> Iterator[Ours]:
        """An engine with these settings, which shares all passes it can."""
        self._free()
        with patch.object(StepTimes, "share", lambda _, items: len(items)):
            ours = Ours(self._setting, replace(self._settings, **different))
            yield ours
            ours.engine.stop()

    def batches(self, ours: Ours, size: int, counts: Sequence[int], what: str) -> dict[str, Any]:
        """So many requests at once, after a first time; some of their images beside those that are made alone."""
        found: list[dict[str, Any]] = []
        each_s = UNKNOWN_S
        for count in counts:
            rounds = RUNS if count <= FEW else 1
            if not self._budget.allows(f"{what}, {size} px, {count} at once", (1 + rounds) * count * each_s):
                break
            self._start_peak()
            together(ours, size, count)
            runs = [together(ours, size, count) for _ in range(rounds)]
            seconds, images = statistics.median(seconds for seconds, _ in runs), runs[0][1]
            each_s = seconds / count
            found.append({
                "at_once": count, "pictures_per_s": count / seconds, "s_per_picture": each_s,
                "peak_memory_gb": self._peak_gb(),
                "psnr_db_to_alone": [self._psnr_to_alone(ours, size, number, images[number])
                                     for number in range(min(COMPARED, count))],
            })  # fmt: skip
        return {"batches": found, "remarks": list(ours.engine.remarks())}

    def against_stock(self, size: int, ours_s: float | None, compiled: bool = False) -> dict[str, Any] | None:
        """One alone by the stock pipeline. `ours_s`: what the engine takes for it."""
        what = "compiled stock" if compiled else "stock"
        if not self._budget.allows(f"{what}, {size} px", (120 if compiled else 0) + (2 + RUNS) * UNKNOWN_S):
            return None
        self._free()
        stock = StockPipeline(replace(self._setting, size=size), self._settings)
        if compiled:
            stock.compile()
        stock.paint(0)
        image = stock.paint(0)
        seconds = statistics.median(timed(lambda: stock.paint(0)) for _ in range(RUNS))
        made_alone = self._alone.get((size, 0))
        return {
            "s_per_picture": seconds,
            "engine_over_stock": ours_s / seconds if ours_s else None,
            "psnr_db_to_the_engines": psnr(image, made_alone) if made_alone else None,
        }

    def _psnr_to_alone(self, ours: Ours, size: int, number: int, image: Image.Image) -> float | None:
        if (size, number) not in self._alone:
            self._alone[size, number] = ours.submit(number, size).result().image
        return psnr(image, self._alone[size, number])

    @property
    def _on_cuda(self) -> bool:
        return self._device.kind == "cuda"

    def _start_peak(self) -> None:
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats(self._device.name)

    def _peak_gb(self) -> float | None:
        return torch.cuda.max_memory_allocated(self._device.name) / 1e9 if self._on_cuda else None

    def _free(self) -> None:
        """What was measured before has gone from the device."""
        gc.collect()
        self._device.empty_cache()


def together(ours: Ours, size: int, count: int) -> tuple[float, list[Image.Image]]:
    """The seconds for so many images that are asked for at once, and the images."""
    started = time.perf_counter()
    with ours.engine._inbox.changed:  # so that all come in together
        tickets = [ours.submit(number, size) for number in range(count)]
    images = [ticket.result().image for ticket in tickets]
    return time.perf_counter() - started, images


def psnr(one: Image.Image, other: Image.Image) -> float | None:
    """In dB; None for equal images."""
    error = float(np.mean((np.asarray(one, dtype=float) - np.asarray(other, dtype=float)) ** 2))
    return round(float(10 * np.log10(255**2 / error)), 1) if error else None


def in_batches(
    bench: Bench, sizes: Sequence[int], counts: Sequence[int], what: str, **different: Any
) -> dict[str, dict[str, Any]]:
    """What an engine of its own does at each size."""
    with bench.engine(**different) as ours:
        return {str(size): bench.batches(ours, size, counts, what) for size in sizes}


def measure(
    bench: Bench, sizes: Sequence[int], counts: Sequence[int], keep: Callable[[str, dict[str, Any]], None]
) -> None:
    """All of it, in the order of the module's list; `keep` is given each part."""
    standard = in_batches(bench, sizes, counts, "standard", worker_variant="standard")
    keep("standard", standard)
    alone = {size: next((one["s_per_picture"] for one in standard[str(size)]["batches"]), None) for size in sizes}
    keep("stock", {str(size): bench.against_stock(size, alone[size]) for size in sizes})
    keep("optimized", in_batches(bench, sizes, (1,), "optimized", worker_variant="optimized"))
    first = sizes[0]
    keep("compiled_stock", {str(first): bench.against_stock(first, alone[first], compiled=True)})
    some = [count for count in COMPILED_COUNTS if count in counts]
    keep("compiled", in_batches(bench, (first,), some, "compiled", worker_variant="standard", torch_compile=True))


@click.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--size", "sizes", multiple=True, type=int, help="Pixels a side; more than once for several sizes.")
@click.option("--steps", default=20, show_default=True)
@click.option("--most", default=COUNTS[-1], show_default=True, help="Requests at once.")
@click.option("--budget", "budget_s", default=360.0, show_default=True, help="Seconds, after which nothing is begun.")
@click.option("--name", default="gpu", show_default=True, help="Of the file in benchmarks/results.")
def main(model: str, sizes: tuple[int, ...], steps: int, most: int, budget_s: float, name: str) -> None:
    """Measure, keep the results. The settings of the environment apply (DEVICE, MODELS_DIR, ...)."""
    console, settings = Console(stderr=True), read_settings()
    keep_compiled_kernels(settings.compile_cache_dir)
    chosen, device = load_catalogue(model).default, pick_device(settings.device)
    sides = sizes or (chosen.native_size,)
    budget = Budget(budget_s)
    bench = Bench(settings, device, Setting(chosen, sides[0], steps, torch.get_num_threads(), None), budget)
    results: dict[str, Any] = {
        "machine": report.machine(device.name, torch.get_num_threads()),
        "setting": {"model": chosen.name, "sizes": sides, "steps": steps, "scale": 7.5, "sampler": "ddim"},
    }

    def keep(part: str, found: dict[str, Any]) -> None:
        results[part] = found
        results["left_out_for_time"] = budget.left_out
        console.print(part, found)
        report.write(name, results)

    measure(bench, sides, [count for count in COUNTS if count <= most], keep)
    click.echo(report.write(name, results))


if __name__ == "__main__":
    main()
