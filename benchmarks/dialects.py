"""What a dialect adds to a request, against the native one: `python -m benchmarks.dialects`.

A real API process, Redis and worker. The same small job is asked for in every dialect in turn, and the client waits for
its image as base64. Of the time of the whole request, that between the job's acceptance and its end is the worker's and
the same for all, but not each time; it is left out, as the job's record tells it. What remains is the dialect's: keys,
body, translation, submission, waking up, and the answer. Each image is compared with the native one.
"""

import base64
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import requests
from PIL import Image
from rich.console import Console

from benchmarks import report
from client.local.embedded_redis import find_server
from shared.jobs.store import JobStore
from shared.queue import connect
from shared.settings import DUMMY_API_KEY, Settings
from tests.e2e.service import Service

NATIVE = "native"
TARGET_MS = 5.0
_WARM_UP = 10
_PROMPT, _SIDE, _SEED = "a house and a tree", 64, 7


@dataclass(frozen=True)
class Asked:
    """One dialect's request for the same image, and where the image stands in its answer."""

    path: str
    body: Mapping[str, Any]
    image: Callable[[Mapping[str, Any]], str]


DIALECTS: Mapping[str, Asked] = MappingProxyType({
    NATIVE: Asked(
        "/generate",
        {
            "prompt": _PROMPT, "seed": _SEED, "W": _SIDE, "H": _SIDE, "ddim_steps": 1, "synchronous_request": True,
            "return_base64": True, "skip_save": True,
        },
        lambda answer: str(answer["Image"][0]),
    ),
    "openai": Asked(
        "/v1/images/generations",
        {
            "prompt": _PROMPT, "seed": _SEED, "size": f"{_SIDE}x{_SIDE}", "steps": 1, "response_format": "b64_json",
            "skip_save": True,
        },
        lambda answer: str(answer["data"][0]["b64_json"]),
    ),
    "a1111": Asked(
        "/sdapi/v1/txt2img",
        {"prompt": _PROMPT, "seed": _SEED, "width": _SIDE, "height": _SIDE, "steps": 1},
        lambda answer: str(answer["images"][0]),
    ),
})  # fmt: skip


def measure(url: str, jobs: JobStore, count: int) -> dict[str, list[float]]:
    """Milliseconds that each of `count` requests of each dialect took beside its job's own time.

    Raises ClickException where an image is another.
    """
    times: dict[str, list[float]] = {name: [] for name in DIALECTS}
    names = list(DIALECTS)
    pixels: bytes | None = None
    with requests.Session() as session:
        session.headers["X-API-Key"] = DUMMY_API_KEY
        for number in range(_WARM_UP + count):
            for place in range(len(names)):  # each has each place as often
                name = names[(number + place) % len(names)]
                asked = DIALECTS[name]
                begun = time.perf_counter()
                answer = session.post(url + asked.path, json=asked.body, timeout=120)
                taken = (time.perf_counter() - begun) * 1000
                if answer.status_code != requests.codes.ok:
                    raise click.ClickException(f"{name}: {answer.status_code} {answer.text[:300]}")
                told = answer.json()
                job = jobs.get(answer.headers.get("X-Task-Id") or told["task_id"])
                drawn = Image.open(io.BytesIO(base64.b64decode(asked.image(told)))).tobytes()
                pixels = pixels or drawn
                if drawn != pixels:
                    raise click.ClickException(f"{name}: another image than that of {NATIVE}")
                if number >= _WARM_UP and job.finished:
                    times[name].append(taken - (job.finished - job.created) * 1000)
    return times


@click.command()
@click.option("--count", default=200, show_default=True, help="Requests of each dialect.")
@click.option("--name", default="dialects", show_default=True, help="Of the file of results.")
def main(count: int, name: str) -> None:
    """Measure, print the summary, keep the results."""
    redis_server = find_server()
    if redis_server is None:
        raise click.ClickException("this needs a redis-server")
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(Service(Path(folder) / "service", redis_server, ACCESS_LOG="false")) as service,
    ):
        service.start_redis()
        service.start_worker()
        service.start_api()
        service.wait_ready()
        settings = Settings(redis_url=service.redis_url, key_prefix=service.key_prefix)
        with closing(connect(settings)) as client:
            times = measure(service.url, JobStore.from_settings(client, settings), count)
    medians = {each: statistics.median(taken) for each, taken in times.items()}
    added = {each: round(median - medians[NATIVE], 2) for each, median in medians.items() if each != NATIVE}
    path = report.write(name, {
        "machine": report.machine("cpu", 1),
        "requests_of_each": count,
        "p50_ms": {each: round(median, 2) for each, median in medians.items()},
        "p50_added_ms": added,
        "target_added_ms": TARGET_MS,
    })  # fmt: skip
    Console(stderr=True).print({"p50 added, ms": added})
    click.echo(path)


if __name__ == "__main__":
    main()
