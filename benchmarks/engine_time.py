"""What the engine's thread does while requests share a device: `python -m benchmarks.engine_time`.

Equal requests for the demo model come at once, as under the load "16 equal" of `benchmarks.rivals`, but with neither
HTTP nor Redis before them. Told are milliseconds of the engine's thread for all of them together, in medians.
"""

import os
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from shared.settings import Settings, limit_spinning

limit_spinning()  # before torch is imported, as a worker does

import click  # noqa: E402
from rich.console import Console  # noqa: E402

from benchmarks import report  # noqa: E402
from shared.catalogue.entries import load_catalogue  # noqa: E402
from shared.request.sampling import SamplingParams  # noqa: E402
from worker.engine import DenoiseRequest, Engine  # noqa: E402
from worker.engine.batch import Evaluator  # noqa: E402
from worker.engine.decoding import Decoder  # noqa: E402
from worker.engine.passes import Pass  # noqa: E402
from worker.engine.running import RunningRequest  # noqa: E402
from worker.engine.scheduler import Scheduler  # noqa: E402
from worker.hardware.cores import available_cores  # noqa: E402

# none of these calls another of them, but for the last, which calls all
_STAGES: dict[str, tuple[type, str]] = {
    "denoiser": (Evaluator, "_forward"),
    "conditioning stacked": (Evaluator, "_stacked"),
    "samplers": (Pass, "_advance"),
    "model inputs": (Pass, "_inputs"),
    "telling of steps": (Pass, "settle"),
    "choosing batches": (Scheduler, "next_batch"),
    "text encoding and begin": (RunningRequest, "__init__"),
    "decoding": (Decoder, "finish_some"),
}
_TURN = "turn"


@contextmanager
def timed(spent: Counter[str]) -> Iterator[None]:
    """Within the block the stages add to `spent` the seconds that they take."""
    with ExitStack() as patches:
        for stage, (owner, name) in {**_STAGES, _TURN: (Engine, "_turn")}.items():
            patches.enter_context(patch.object(owner, name, _counting(getattr(owner, name), stage, spent)))
        yield


def _counting(call: Any, stage: str, spent: Counter[str]) -> Any:
    def counted(*args: Any, **kwargs: Any) -> Any:
        begun = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[stage] += time.perf_counter() - begun  # type: ignore[assignment]  # a Counter adds any numbers

    return counted


def round_of(engine: Engine, params: SamplingParams, number: int, count: int) -> float:
    """Seconds from the first request to the last image."""
    begun = time.perf_counter()
    tickets = [
        engine.submit(DenoiseRequest(params, f"a red circle {number}.{each}", each, each), lambda *_: None)
        for each in range(count)
    ]
    for ticket in tickets:
        ticket.result()
    return time.perf_counter() - begun


@click.command()
@click.option("--requests", "count", default=16, show_default=True)
@click.option("--steps", default=20, show_default=True)
@click.option("--side", default=128, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--name", default="engine_time", show_default=True, help="Of the file in benchmarks/results.")
def main(count: int, steps: int, side: int, rounds: int, name: str) -> None:
    """Measure, print the medians, keep the results."""
    params = SamplingParams(model="demo", sampler="ddim", steps=steps, guidance_scale=7.5, width=side, height=side)
    engine, busy = Engine(Settings(), load_catalogue("demo")), os.getloadavg()[0]
    engine.start()
    found: list[dict[str, float]] = []
    try:
        engine.measure(DenoiseRequest(params, "a red circle", 0, 0), at_most_s=20, pass_s=0.05)
        round_of(engine, params, -1, count)
        for number in range(rounds):
            spent: Counter[str] = Counter()
            with timed(spent):
                seconds = round_of(engine, params, number, count)
                engine.run_aside(lambda: None)  # so that the turn that ended the last one is over
            known = {stage: spent[stage] * 1e3 for stage in _STAGES}
            known["denoiser"] -= known["conditioning stacked"]
            known["everything else"] = spent[_TURN] * 1e3 - sum(known.values())
            found.append({"all": seconds * 1e3, **known})
    finally:
        engine.stop()
    medians = {stage: round(statistics.median(one[stage] for one in found), 1) for stage in found[0]}
    Console(stderr=True).print(medians)
    machine = report.machine("cpu", available_cores()) | {"load_at_the_start": round(busy, 2)}
    settings = {"model": "demo", "requests": count, "steps": steps, "side": side, "rounds": rounds}
    click.echo(report.write(name, {"machine": machine, "settings": settings, "milliseconds": medians}))


if __name__ == "__main__":
    main()
