"""What sharing forward passes is worth: `python -m benchmarks.engine`, the engine against the stock diffusers pipeline.

Each has a process of its own, with the same weights and number of threads; the engine's threads wait as a worker's do,
the pipeline's as they would in a script. They take turns within every round, so that what else the machine does hits
both; medians of the rounds' ratios are reported.
"""

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import click
import diffusers
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import report
from benchmarks.processes import SPINNING, Partner, serve, wait_as_workers_do
from shared.catalogue.entries import load_catalogue
from shared.catalogue.models import Model
from shared.catalogue.samplers import SAMPLERS
from shared.request.sampling import SamplingParams
from shared.request.schemas import PRECISIONS
from shared.settings import Settings, read_settings
from worker.engine import DenoiseRequest, Engine, Ticket
from worker.hardware.devices import pick_device
from worker.hardware.variants import choose_precision, profile_for

PROMPTS = (
    "a red circle on a blue background",
    "a yellow star left of a green heart",
    "a house by the sea at night",
    "a photo of a small purple triangle",
)


@dataclass(frozen=True)
class Setting:
    """One measured constellation."""

    model: Model
    size: int
    steps: int
    threads: int
    precision: str | None


class StockPipeline:
    """The stock pipeline over the same files, device and precision as the engine's."""

    def __init__(self, setting: Setting, settings: Settings) -> None:
        device = pick_device(settings.device)
        precision = choose_precision(setting.precision, profile_for(settings.worker_variant, device), device)
        folder = setting.model.place(settings.models_dir)
        self._setting = setting
        self._pipeline: Any = diffusers.StableDiffusionPipeline.from_pretrained(
            str(folder),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
            dtype=precision.denoiser,
        ).to(device.name)
        sampler = SAMPLERS["ddim"]
        self._pipeline.scheduler = diffusers.DDIMScheduler.from_config(
            self._pipeline.scheduler.config, **dict(sampler.arguments)
        )
        self._pipeline.set_progress_bar_config(disable=True)

    def compile(self) -> None:
        """Compile the denoiser, on CUDA as one graph."""
        graphs = self._pipeline.device.type == "cuda"
        self._pipeline.unet.compile(**({"mode": "reduce-overhead"} if graphs else {}))

    def paint(self, number: int) -> Image.Image:
        """The image of that number, for which the engine's has the same inputs."""
        painted = self._pipeline(
            prompt=PROMPTS[number % len(PROMPTS)],
            negative_prompt="",
            width=self._setting.size,
            height=self._setting.size,
            num_inference_steps=self._setting.steps,
            guidance_scale=7.5,
            generator=torch.Generator("cpu").manual_seed(number),
        )
        image: Image.Image = painted.images[0]
        return image


class Ours:
    """The engine, with the time at which each ticket ended."""

    def __init__(self, setting: Setting, settings: Settings) -> None:
        self._setting = setting
        self.engine = Engine(settings, load_catalogue(setting.model.name))
        self.engine.start()

    def submit(self, number: int, size: int | None = None, steps: int | None = None) -> Ticket:
        side = size or self._setting.size
        params = SamplingParams(
            model=self._setting.model.name, sampler="ddim", steps=steps or self._setting.steps, guidance_scale=7.5,
            width=side, height=side, precision=self._setting.precision,
        )  # fmt: skip
        request = DenoiseRequest(params, PROMPTS[number % len(PROMPTS)], noise_seed=number, step_seed=number)
        return self.engine.submit(request, lambda *_: None)

    def latencies(self, count: int) -> list[float]:
        """Seconds from now to the end of each of so many requests that come at once."""
        started = time.perf_counter()
        ends: list[float] = []
        tickets = [self.submit(number) for number in range(count)]
        for ticket in tickets:
            ticket.outcome.add_done_callback(lambda _: ends.append(time.perf_counter() - started))
        for ticket in tickets:
            ticket.result()
        while len(ends) < count:  # callbacks run just after the results are there
            time.sleep(0.0005)
        return ends


def timed(call: Any) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def alone(stock: Partner, ours: Ours, rounds: int) -> dict[str, Any]:
    """One request at a time: what the engine adds."""
    pairs = [(stock.do("1"), timed(lambda: ours.submit(1).result())) for _ in range(rounds)]
    return {
        "stock_s": statistics.median(first for first, _ in pairs),
        "engine_s": statistics.median(second for _, second in pairs),
        "engine_over_stock": statistics.median(second / first for first, second in pairs),
        "bar": "<= 1.05",
        "rounds": rounds,
    }


def throughput(stock: Partner, ours: Ours, count: int, rounds: int) -> dict[str, Any]:
    """So many requests at once through the engine, and one after the other through the stock pipeline."""
    gains, seconds = [], []
    for _ in range(rounds):
        one_by_one = sum(stock.do(str(number)) for number in range(count))
        together = max(ours.latencies(count))
        gains.append(one_by_one / together)
        seconds.append((one_by_one, together))
    return {
        "requests": count,
        "stock_s": statistics.median(first for first, _ in seconds),
        "engine_s": statistics.median(second for _, second in seconds),
        "gain": statistics.median(gains),
        "bar": ">= 3",
        "rounds": rounds,
    }


def mean_latency(ours: Ours, count: int, rounds: int) -> dict[str, Any]:
    """So many equal requests at once, against the same in turn: the first ends at T, the last at count T."""
    ratios = []
    for _ in range(rounds):
        each = [timed(lambda: ours.submit(1).result()) for _ in range(count)]
        in_turn = statistics.mean(sum(each[: number + 1]) for number in range(count))
        ratios.append(statistics.mean(ours.latencies(count)) / in_turn)
    return {"requests": count, "together_over_in_turn": statistics.median(ratios), "bar": "<= 1.05", "rounds": rounds}


def behind_a_long_one(ours: Ours, setting: Setting, long_size: int, rounds: int) -> dict[str, Any]:
    """A short request that comes at a random moment of a long one of 50 steps."""
    rng = random.Random(1)
    solo = statistics.median(timed(lambda: ours.submit(1).result()) for _ in range(5))
    long_s = timed(lambda: ours.submit(2, long_size, 50).result())
    ratios = []
    for _ in range(rounds):
        long = ours.submit(2, long_size, 50)
        time.sleep(rng.uniform(0.05, 0.8) * long_s)
        ratios.append(timed(lambda: ours.submit(1).result()) / solo)
        long.result()
    return {
        "long": f"{long_size}x{long_size}, 50 steps",
        "solo_s": solo,
        "long_s": long_s,
        "median": statistics.median(ratios),
        "p95": sorted(ratios)[max(0, round(0.95 * len(ratios)) - 1)],
        "bar": "<= 2",
        "rounds": rounds,
    }


def curve(ours: Ours, setting: Setting, counts: Sequence[int]) -> list[dict[str, float]]:
    """The time of a forward pass by the number of guided requests in it, as the engine measured it."""
    known: dict[str, float] = next(
        (each["seconds_by_batch_items"] for each in ours.engine.batching()["curves"]
         if (each["width"], each["height"]) == (setting.size, setting.size)), {}
    )  # fmt: skip
    found = []
    for count in counts:
        if seconds := known.get(str(2 * count)):
            found.append({"requests": count, "call_ms": 1000 * seconds, "per_request_ms": 1000 * seconds / count})
    return found


def memory(device: str) -> float | None:
    """Peak gigabytes on the GPU so far; None elsewhere."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.startswith("cuda") else None


@click.command()
@click.option("--model", default="demo", show_default=True)
@click.option("--size", default=0, help="Pixels a side; 0: the model's native size.")
@click.option("--steps", default=20, show_default=True)
@click.option("--precision", type=click.Choice(PRECISIONS), help="As a request would ask for it.")
@click.option("--requests", default=16, show_default=True, help="How many come at once.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--long-size", default=512, show_default=True, help="Pixels a side of the long request.")
@click.option("--name", default="engine", show_default=True, help="Of the file in benchmarks/results.")
@click.option("--as-stock", is_flag=True, hidden=True)
def main(
    model: str,
    size: int,
    steps: int,
    precision: str | None,
    requests: int,
    rounds: int,
    long_size: int,
    name: str,
    as_stock: bool,
) -> None:
    """Measure, print a table, keep the results. The settings of the environment apply (DEVICE, MODELS_DIR, ...)."""
    settings = read_settings()
    chosen = load_catalogue(model).default
    setting = Setting(chosen, size or chosen.native_size, steps, torch.get_num_threads(), precision)
    if as_stock:
        pipeline = StockPipeline(setting, settings)
        serve(lambda number: timed(lambda: pipeline.paint(int(number))))
        return
    wait_as_workers_do("benchmarks.engine")
    same = ["--as-stock", "--model", model, "--size", str(setting.size), "--steps", str(steps)]
    same += ["--precision", precision] if precision else []
    with Partner("benchmarks.engine", *same, spinning={}) as stock:
        measure(setting, settings, stock, requests, rounds, long_size, name)


def measure(
    setting: Setting, settings: Settings, stock: Partner, requests: int, rounds: int, long_size: int, name: str
) -> None:
    console = Console(stderr=True)
    device = pick_device(settings.device)
    precision = choose_precision(setting.precision, profile_for(settings.worker_variant, device), device)
    ours = Ours(setting, settings)
    for number in track(range(3), "warming up", console=console):
        stock.do(str(number))
        ours.latencies(requests)
    results: dict[str, Any] = {"machine": report.machine(device.name, setting.threads)}
    results["setting"] = {
        "model": setting.model.name, "size": setting.size, "steps": setting.steps, "scale": 7.5, "sampler": "ddim",
        "precision": precision.word, "dtype": str(precision.denoiser).removeprefix("torch."),
        "engine_threads": {variable: os.environ[variable] for variable in SPINNING if variable in os.environ},
    }  # fmt: skip
    parts: dict[str, Callable[[], Any]] = {
        "alone": lambda: alone(stock, ours, 2 * rounds),
        "throughput": lambda: throughput(stock, ours, requests, rounds),
        "mean_latency": lambda: mean_latency(ours, 8, rounds),
        "behind_a_long_one": lambda: behind_a_long_one(ours, setting, long_size, 4 * rounds),
        "curve": lambda: curve(ours, setting, (1, 2, 4, 8, 16, 32)),
        "wanted": ours.engine.wanted,
        "gpu_memory_gb": lambda: memory(device.name),
    }
    for part, measure in track(parts.items(), "measuring", console=console):
        results[part] = measure()
    ours.engine.stop()
    console.print(_table(results))
    click.echo(report.write(name, results))


def _table(results: dict[str, Any]) -> Table:
    table = Table("what", "measured", "bar")
    solo, many, mean = results["alone"], results["throughput"], results["mean_latency"]
    behind = results["behind_a_long_one"]
    table.add_row("one request alone, engine over stock", f"{solo['engine_over_stock']:.3f}", solo["bar"])
    table.add_row(f"{many['requests']} at once, stock time over engine time", f"{many['gain']:.2f}", many["bar"])
    table.add_row("8 equal at once, mean latency over in turn", f"{mean['together_over_in_turn']:.3f}", mean["bar"])
    table.add_row(f"short one behind {behind['long']}, p95 over solo", f"{behind['p95']:.2f}", behind["bar"])
    for point in results["curve"]:
        table.add_row(f"forward pass for {point['requests']}: ms a request", f"{point['per_request_ms']:.1f}", "")
    return table


if __name__ == "__main__":
    main()
