"""Our service against LitServe with dynamic batches and Flask with a lock, over HTTP: `python -m benchmarks.rivals`.

Both rivals run the stock pipeline over the same weights, on all cores like our worker. Each is tried in float32 and
bfloat16, with threads that spin and threads that yield while they wait; the fastest of the four counts. Our service
starts twice, as in `benchmarks.served`, and the second start is compared. Clients are a process of their own; each
sends a request and waits for the answer, an image in base64. Every side is up all the time and gets the same requests
in turn; a rival is stopped (SIGSTOP) while it is not its turn. LitServe is asked under every load, Flask under those of
16 users and of one.
"""

import io
import itertools
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click
from PIL import Image
from rich.console import Console

from benchmarks import report
from benchmarks.rivals.clients import Clients, WrongAnswer, image_at
from benchmarks.rivals.loads import FULL, QUICK, SCALE, SIDE, STEPS, Load, Plan
from benchmarks.rivals.rounds import Rounds, run, told
from benchmarks.rivals.sides import (
    FLASK,
    LIBRARIES,
    LITSERVE,
    OURS,
    PRECISIONS,
    Side,
    check_libraries,
    our_service,
    start_rival,
    wait_ready,
)  # fmt: skip
from client.local.embedded_redis import find_server
from tests.images import decibels
from worker.hardware.cores import available_cores

_MOST_IDLE, _MOST_OTHERS = 0.1, 0.3  # cores
_FIRST = Load(2, 2)
_WARM_UP, _TRIED = range(-2, -1), range(-1, 0)  # rounds before those that count, with other prompts
TARGETS = {
    "16 equal, LitServe": "throughput >= 1.2",
    "16 mixed, LitServe": "throughput >= 2",
    "1 alone, LitServe": "time <= 1.0",
    "every number of users, LitServe": "p95 <= 1.0",
}


@contextmanager
def fastest(kind: str, plan: Plan, folder: Path, libraries: Path, clients: Clients) -> Iterator[tuple[Side, Any]]:
    """A rival in the form in which it is fastest, and what was measured in each form."""
    loads = plan.main[:2] if kind == LITSERVE else plan.main[2:]  # one after the other is all that Flask does
    with ExitStack() as stack:
        sides = [
            start_rival(kind, precision, threads, folder, libraries)
            for precision, threads in itertools.product(PRECISIONS, plan.waiting)
        ]
        for side in sides:
            stack.callback(side.close)
        wait_ready(sides)
        for side in sides:
            side.pause()
        found: dict[str, dict[str, Rounds]] = {}
        run(_FIRST, sides, _WARM_UP, clients)
        for load in loads:
            found[load.name] = run(load, sides, _TRIED, clients)
        seconds = {side.name: sum(of[side.name].measured[0].seconds for of in found.values()) for side in sides}
        chosen = min(sides, key=lambda side: seconds[side.name])
        for side in sides:
            if side is not chosen:
                side.close()
        tried = {load: {name: rounds.summary() for name, rounds in of.items()} for load, of in found.items()}
        yield chosen, {"loads": tried, "chosen": chosen.name}


def decibels_between(one: Side, other: Side, load: Load) -> float | None:
    """PSNR of the two images of the same request, which shows that both do the same work; None when they are equal."""
    images, body = [], load.bodies(0)[0]
    for side in (one, other):
        side.resume()
        images.append(Image.open(io.BytesIO(image_at(side.port, body))))
        side.pause()
    found = decibels(*images)
    return None if math.isinf(found) else round(found, 1)


def measure(
    plan: Plan,
    ours: Side,
    litserve: Side,
    flask: Side,
    rounds: tuple[int, int, int],
    clients: Clients,
    console: Console,
) -> dict[str, Any]:
    """All loads; `rounds` are those of the main loads, of the further ones, and of Flask under the main ones."""
    main, further, locked = rounds
    measured = {}
    for load in plan.all:
        found = run(load, (ours, litserve), range(main if load in plan.main else further), clients)
        measured[load.name] = {LITSERVE: told(load, found)}
        if load in plan.main:
            measured[load.name][FLASK] = told(load, run(load, (ours, flask), range(locked), clients))
        for rival, figures in measured[load.name].items():
            console.print(f"{load.name}, against {rival}:", next(iter(figures["ours_against"].values())))
            if figures["most_cores_while_idle"][OURS] > _MOST_IDLE:
                console.print(f"our service was not idle while {rival} was measured")
            if figures["cores_of_other_programs"]["median"] > _MOST_OTHERS:
                console.print("other programs were busy: the ratios may be theirs")
    return measured


@click.command()
@click.option("--rounds", default=5, show_default=True, help="With 16 users and one, against LitServe.")
@click.option("--further-rounds", default=2, show_default=True, help="With 4, 8 and 32 users.")
@click.option("--lock-rounds", default=2, show_default=True, help="Against Flask.")
@click.option("--quick", is_flag=True, help="One round of few requests, to see that this program works.")
@click.option("--libraries", default=LIBRARIES, type=click.Path(path_type=Path), help="The folder that has LitServe.")
@click.option("--name", default="served_rivals", show_default=True, help="Of the file in benchmarks/results.")
def main(rounds: int, further_rounds: int, lock_rounds: int, quick: bool, libraries: Path, name: str) -> None:
    """Measure, print the ratios, keep the results."""
    console, redis_server = Console(stderr=True), find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    check_libraries(libraries)
    plan = QUICK if quick else FULL
    counts = (1, 1, 1) if quick else (rounds, further_rounds, lock_rounds)
    busy, begun = os.getloadavg()[0], time.monotonic()
    equal, mixed, alone = plan.main
    try:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            clients = stack.enter_context(Clients())
            with our_service(folder / "first-start", redis_server, folder / "cache") as ours:
                run(alone, (ours,), _WARM_UP, clients)
                first = {load.name: told(load, run(load, (ours,), range(1), clients))["sides"] for load in plan.main}
            console.print("our first start:", first)
            litserve, of_litserve = stack.enter_context(fastest(LITSERVE, plan, folder, libraries, clients))
            flask, of_flask = stack.enter_context(fastest(FLASK, plan, folder, libraries, clients))
            console.print(f"compared with {litserve.name} and {flask.name}")
            ours = stack.enter_context(our_service(folder / "second-start", redis_server, folder / "cache"))
            for load in plan.main:
                run(load, (ours,), _WARM_UP, clients)
            alike = {side.name: decibels_between(ours, side, equal) for side in (litserve, flask)}
            measured = measure(plan, ours, litserve, flask, counts, clients, console)
    except WrongAnswer as wrong:
        raise click.ClickException(f"a server gave a wrong answer: {wrong}") from None
    machine = report.machine("cpu", available_cores()) | {
        "load_at_the_start": round(busy, 2), "seconds_in_all": round(time.monotonic() - begun),
    }  # fmt: skip
    click.echo(report.write(name, {
        "machine": machine, "model": "demo", "sampler": "ddim",
        "equal": {"size": f"{SIDE}x{SIDE}", "steps": STEPS, "scale": SCALE},
        "mixed": [{key: body[key] for key in ("W", "H", "ddim_steps", "scale")} for body in mixed.bodies(0)],
        "targets": TARGETS, "our_first_start": first, "tried": {LITSERVE: of_litserve, FLASK: of_flask},
        "same_request_psnr_db": alike, "measured": measured,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
