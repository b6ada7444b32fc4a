"""A fault while a client waits, in every dialect: its retry gets the image of the same job, and none is drawn twice."""

import base64
import concurrent.futures
import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from PIL import Image

from shared.settings import DUMMY_API_KEY
from tests.chaos.traffic import images, lasting, until
from tests.e2e.service import Service

pytestmark = pytest.mark.full
ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]
_RETRY_S = 0.5


@dataclass(frozen=True)
class Dialect:
    """How a dialect's client asks for images, marks that it asks again, and reads the answer."""

    path: str
    body: Callable[[Mapping[str, Any]], dict[str, Any]]
    retry: Callable[[int], dict[str, str]]
    image: Callable[[dict[str, Any]], str]


def _sides(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": asked["prompt"], "width": asked["W"], "height": asked["H"], "steps": asked["ddim_steps"]}


DIALECTS = {
    "native": Dialect(
        "/generate",
        lambda asked: {**asked, "synchronous_request": True, "return_base64": True},
        lambda count: {"Idempotency-Key": "a fault"},
        lambda answer: str(answer["Image"][0]),
    ),
    "openai": Dialect(
        "/v1/images/generations",
        lambda asked: {**_sides(asked), "response_format": "b64_json"},
        lambda count: {"x-stainless-retry-count": str(count)},
        lambda answer: str(answer["data"][0]["b64_json"]),
    ),
    "a1111": Dialect(
        "/sdapi/v1/txt2img",
        lambda asked: {**_sides(asked), "force_task_id": "task(txt2img-FAULT01)"},
        lambda count: {},
        lambda answer: str(answer["images"][0]),
    ),
}


def ask(dialect: Dialect, urls: list[str], asked: Mapping[str, Any]) -> tuple[str, bytes, int]:
    """Ask until there is an answer, as these clients do, each time at the next address.

    Gives the job's id, the image, and how often it was asked for again.
    """
    for count in range(600):
        headers = {"X-API-Key": DUMMY_API_KEY, **dialect.retry(count)}
        try:
            answer = requests.post(
                urls[min(count, 1)] + dialect.path, json=dialect.body(asked), headers=headers, timeout=300
            )
        except requests.ConnectionError:
            time.sleep(_RETRY_S)
            continue
        if answer.status_code == 200:
            found = answer.json()
            job_id = answer.headers.get("X-Task-Id") or found["task_id"]
            return job_id, base64.b64decode(dialect.image(found)), count
        assert answer.status_code in (202, 503), answer.text[:500]
        time.sleep(_RETRY_S)
    raise AssertionError("no image came")


def kill_api(service: Service) -> None:
    service.kill(service.apis[0].child)


def kill_worker(service: Service) -> None:
    service.kill(service.workers[0])
    service.start_worker()


def kill_redis(service: Service) -> None:
    assert service.redis
    service.kill(service.redis)
    service.start_redis()


@pytest.mark.parametrize("kill", [kill_api, kill_worker, kill_redis], ids=lambda kill: kill.__name__)
def test_a_retry_gets_the_image_of_its_job(
    make_service: ServiceFactory, keep_figures: Keep, kill: Callable[[Service], None]
) -> None:
    """Given a client of each dialect that waits, when something is killed, then each has the image of the one job.

    The fault strikes when the jobs are a second old: what is younger may be lost with Redis.
    """
    service = make_service(apis=2, workers=1, VISIBILITY_TIMEOUT_S="6", MAX_ATTEMPTS="9")
    asked = {name: value for name, value in lasting(service, 3).items() if name in ("prompt", "W", "H", "ddim_steps")}
    urls, before = [api.url for api in service.apis], len(images(service))
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = {name: pool.submit(ask, dialect, urls, asked) for name, dialect in DIALECTS.items()}
        until(lambda: open_jobs(service, urls[1]) == len(DIALECTS), 30, "not all are accepted")
        time.sleep(1.2)
        kill(service)
        answers = {name: future.result(300) for name, future in waiting.items()}

    assert len({job_id for job_id, _, _ in answers.values()}) == len(DIALECTS)
    assert len(images(service)) == before + len(DIALECTS), "none was drawn twice"
    for _, data, _ in answers.values():
        assert Image.open(io.BytesIO(data)).size == (asked["W"], asked["H"])
    keep_figures(asked_again={name: count for name, (_, _, count) in answers.items()})


def open_jobs(service: Service, url: str) -> int:
    answer = requests.get(f"{url}/sdapi/v1/progress", headers={"X-API-Key": DUMMY_API_KEY}, timeout=30)
    return int(answer.json()["state"]["job_count"])
