"""What clients that wait cost Redis: `python -m benchmarks.waiting`.

A gunicorn process on a real Redis, no worker, so that nothing happens but the waiting. Two hundred clients wait for the
image of a synchronous request; then five hundred listen to the events of as many jobs, where the commit has events. For
some seconds each, the commands that Redis carries out are counted, as it tells itself (INFO commandstats), and the
connections to it. The API of an earlier commit (`--baseline`) is counted the same way. Counts, not speed: what else the
machine does changes nothing.
"""

import contextlib
import json
import socket
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks import report
from benchmarks.http_client import get, post
from benchmarks.http_side import Side, checkout
from client.local.embedded_redis import find_server
from shared.settings import DUMMY_API_KEY
from tests.e2e.service import REPOSITORY

HERE, BEFORE = "this commit", "baseline"
_BODY = {"prompt": "a house and a tree", "api_key": DUMMY_API_KEY}
_SETTLE_S = 5.0
_OWN = ("cmdstat_info", "cmdstat_client|list", "cmdstat_zcard")
_START_S = 120.0


def counted(side: Side, seconds: float) -> dict[str, Any]:
    """Commands a second that Redis carries out, the most frequent by name, and connections."""
    before = _commands(side)
    time.sleep(seconds)
    more = _commands(side) - before
    clients = [client["cmd"] for client in side.redis.client_list()]
    return {
        "commands_a_second": round(more.total() / seconds, 2),
        "most_frequent": {name: round(count / seconds, 2) for name, count in more.most_common(4)},
        "connections": len(clients) - 1,
        "connections_that_wait": sum(command.startswith("xread") for command in clients),
    }


def _commands(side: Side) -> Counter[str]:
    stats = side.redis.info("commandstats")
    return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items() if name not in _OWN})


def ask(side: Side, stack: contextlib.ExitStack, request: bytes) -> socket.socket:
    """A connection on which a request is under way."""
    client = stack.enter_context(socket.create_connection(("127.0.0.1", side.port), timeout=_START_S))
    client.sendall(request)
    return client


def waiters(side: Side, count: int, seconds: float) -> dict[str, Any]:
    """What so many synchronous requests cost while they wait; they come one after the other."""
    request = post("/generate", json.dumps(_BODY | {"synchronous_request": True}).encode())
    with contextlib.ExitStack() as stack:
        for number in range(1, count + 1):
            ask(side, stack, request)
            end = time.monotonic() + _START_S
            while side.redis.zcard("pd:backlog:jobs") < number:
                if time.monotonic() > end:
                    raise click.ClickException(f"request {number} was not accepted in {_START_S} s")
                time.sleep(0.005)
        time.sleep(_SETTLE_S)
        return counted(side, seconds)


def listeners(side: Side, count: int, seconds: float) -> dict[str, Any]:
    """What so many clients that listen to events cost, a job each; they come one after the other."""
    with contextlib.ExitStack() as stack:
        for job_id in side.make("waiting", str(count)):
            client, heard = ask(side, stack, get(f"/events/{job_id}")), b""
            while b"event: queued" not in heard:
                if not (more := client.recv(65536)):
                    raise click.ClickException(f"no events came: {heard[:500]!r}")
                heard += more
        time.sleep(_SETTLE_S)
        return counted(side, seconds)


@click.command()
@click.option("--waiters", "waiting", default=200, show_default=True)
@click.option("--listeners", "listening", default=500, show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="How long the commands are counted.")
@click.option("--baseline", default="00fa561", show_default=True, help="The commit to compare with; '' for none.")
@click.option("--name", default="waiting", show_default=True, help="Of the file of results.")
def main(waiting: int, listening: int, seconds: float, baseline: str, name: str) -> None:
    """Count, print the summary, keep the results."""
    console = Console(stderr=True)
    redis_server = find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        codes = {HERE: REPOSITORY} | ({BEFORE: stack.enter_context(checkout(baseline))} if baseline else {})
        for number, (side_name, code) in enumerate(codes.items()):
            settings = {"API_PROCESSES": "1", "SYNC_WAITERS": str(waiting), "SYNC_TIMEOUT_S": "600"}
            counts = {"waiters": partial(waiters, count=waiting)}
            if side_name == HERE:
                counts["listeners"] = partial(listeners, count=listening)
            found[side_name] = {}
            for kind, count in counts.items():
                side = Side(side_name, code, folder / f"{number}-{kind}", redis_server, **settings)
                with contextlib.closing(side):
                    found[side_name][kind] = count(side, seconds=seconds)
            console.print(side_name, found[side_name])
    path = report.write(name, {
        "machine": report.machine("cpu", 1),
        "baseline": baseline or None,
        "counted_s": seconds,
        "waiters": waiting,
        "listeners": listening,
        "counts": found,
    })  # fmt: skip
    click.echo(path)


if __name__ == "__main__":
    main()
