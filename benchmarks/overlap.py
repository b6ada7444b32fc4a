"""How busy the host keeps a device that queues what it is given: `python -m benchmarks.overlap`.

The device is pretended (`tests/worker/engine/stand_in.py`): a forward pass takes it a given time, in which the host may
go on. First the host's own work a step is measured, with passes that take nothing; then the passes take so long that
this work is a given share of them, and the device's idle time is what was not hidden.
"""

import statistics
import time
from typing import Any
from unittest.mock import patch

import click
from PIL import Image

from benchmarks import report
from shared.catalogue.entries import load_catalogue
from shared.request.sampling import SamplingParams
from shared.settings import Settings
from tests.worker.engine.stand_in import Clock, StandIn, standing_in
from worker.acceleration.split_batch import run_whole
from worker.engine import DenoiseRequest, Engine
from worker.engine.running import RunningRequest
from worker.engine.step_times import StepTimes
from worker.families import FAMILIES
from worker.hardware.cores import cores_for

SIDE = 512


def request(number: int, steps: int) -> DenoiseRequest:
    """One of many equal ones, each with its own seed."""
    params = SamplingParams(
        model="demo", negative_prompt="", sampler="ddim", steps=steps, guidance_scale=7.5, eta=0.0, width=SIDE,
        height=SIDE, strength=1.0, noise_multiplier=1.0, precision="full",
    )  # fmt: skip
    return DenoiseRequest(params, "a red circle", number, number)


def steps_of(count: int, steps: int, pass_s: float) -> dict[str, float]:
    """So many requests at once on a device whose passes take so long: seconds a step, and the device's busy share.

    From the second half of the steps, when all have come.
    """
    clock, seen = Clock(pass_s), list[tuple[float, float]]()

    def hear(step: int, _steps: int) -> None:
        if step >= steps // 2:
            seen.append((time.perf_counter(), clock.busy_s))

    told = {name: standing_in(family, clock) for name, family in FAMILIES.items()}
    with (
        patch("worker.engine.engine.pick_device", lambda _: StandIn("cpu", clock)),
        patch("worker.engine.running.FAMILIES", told),
        patch("worker.acceleration.prepare.SplitBatch", lambda _: run_whole),
        patch.object(StepTimes, "share", lambda _, items: len(items)),
        patch.object(RunningRequest, "decode", lambda _: Image.new("RGB", (SIDE, SIDE))),
    ):
        engine = Engine(Settings(device="cpu"), load_catalogue("demo"))
        engine.start()
        engine.submit(request(0, 2), lambda *_: None).result()
        tickets = [
            engine.submit(request(number, steps), hear if number == count - 1 else lambda *_: None)
            for number in range(count)
        ]
        for ticket in tickets:
            ticket.result()
        engine.stop()
    (begin, busy_before), (end, busy_after) = seen[0], seen[-1]
    return {
        "step_ms": round((end - begin) / (len(seen) - 1) * 1e3, 3),
        "device_busy": round((busy_after - busy_before) / (end - begin), 4),
    }


@click.command()
@click.option("--requests", "count", default=16, show_default=True)
@click.option("--steps", default=400, show_default=True)
@click.option("--share", default=0.3, show_default=True, help="Of a pass that the host's work is.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--name", default="overlap", show_default=True, help="Of the file in benchmarks/results.")
def main(count: int, steps: int, share: float, rounds: int, name: str) -> None:
    """Measure, print the medians, keep the results."""
    found: list[dict[str, Any]] = []
    for _ in range(rounds):
        host_ms = steps_of(count, steps, 0.0)["step_ms"]
        found.append({"host_ms": host_ms, **steps_of(count, steps, host_ms / 1e3 / share)})
    summary = {key: statistics.median(one[key] for one in found) for key in found[0]}
    click.echo(summary)
    settings = {"requests": count, "steps": steps, "share": share, "side": SIDE}
    machine = report.machine("cpu, pretended to queue", cores_for(1, 1))
    report.write(name, {"machine": machine, "settings": settings, "median": summary, "rounds": found})


if __name__ == "__main__":
    main()
