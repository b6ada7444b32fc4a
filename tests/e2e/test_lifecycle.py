"""Jobs over time: progress, cancelling, restarts, several processes, and Redis going away."""

import base64
import http.client
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.e2e.service import Service

SMALL: dict[str, Any] = {"prompt": "a red circle", "H": 64, "W": 64, "ddim_steps": 2, "seed": 7, "return_base64": True}
LONG: dict[str, Any] = SMALL | {"ddim_steps": 400, "H": 128, "W": 128}
# so large that a worker runs hardly more than one at a time
LARGE: dict[str, Any] = SMALL | {"ddim_steps": 100, "H": 512, "W": 512, "hires": "off"}
ServiceFactory = Callable[..., Service]


def until(service: Service, task_id: str, state: str, timeout_s: float = 120) -> dict[str, Any]:
    end = time.monotonic() + timeout_s
    while True:
        answer: dict[str, Any] = service.get(f"/status/{task_id}").json()
        if answer["State"] == state:
            return answer
        assert time.monotonic() < end, answer
        time.sleep(0.05)


def test_status_tells_position_steps_and_the_end(service: Service) -> None:
    """Given more long jobs than workers take, when they are watched, then progress grows and the last has a place."""
    busy: list[str] = []
    position = None
    while position is None:
        assert len(busy) < 40, "two workers of sixteen slots cannot run forty jobs"
        busy.append(service.submit(**LARGE))
        position = service.get(f"/status/{busy[-1]}").json()["Position"]
    assert position >= 1
    last = service.submit(**SMALL)
    running = _one_that_moves(service, busy)
    end = time.monotonic() + 120
    while (later := service.get(f"/status/{running}").json())["ETA"] is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert 0 < later["Progress"] < 1
    assert later["Steps"] == 100
    assert later["ETA"] > 0
    for task_id in busy:
        assert service.post(f"/cancel/{task_id}").json()["State"] == "REVOKED"
    assert service.wait(last).json()["State"] == "SUCCESS"


def _one_that_moves(service: Service, ids: list[str]) -> str:
    """The first of the jobs that has done a step."""
    end = time.monotonic() + 120
    while True:
        for task_id in ids:
            if service.get(f"/status/{task_id}").json()["Step"] > 0:
                return task_id
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_cancelled_job_makes_room_at_once(service: Service) -> None:
    """Given a running job, when it is cancelled, then it stays REVOKED, has no images, and the next one is served."""
    running = service.submit(**LONG)
    until(service, running, "PROGRESS")
    assert service.post(f"/cancel/{running}").json()["State"] == "REVOKED"
    assert service.wait(service.submit(**SMALL)).json()["State"] == "SUCCESS"
    ended = service.get(f"/status/{running}").json()
    assert ended["State"] == "REVOKED"
    assert ended["Step"] < ended["Steps"]
    assert "Images" not in ended


def test_cancelling_what_is_done_changes_nothing(service: Service) -> None:
    """Given a finished job, when it is cancelled, then it is still a success."""
    task_id = service.submit(**SMALL)
    service.wait(task_id)
    assert service.post(f"/cancel/{task_id}").json()["State"] == "SUCCESS"


def test_unknown_ids_are_404_everywhere(service: Service) -> None:
    """Given an id that never was, when it is asked for, then 404 in the one error shape."""
    for answer in (
        service.get("/status/nothing"), service.post("/cancel/nothing"), service.get("/images/nothing/0000-7.png")
    ):  # fmt: skip
        assert answer.status_code == 404
        assert set(answer.json()) == {"error", "code", "fields"}


@pytest.mark.full
def test_two_apis_and_two_workers_share_the_work(make_service: ServiceFactory) -> None:
    """Given 2 APIs and 2 workers on one Redis, when 12 jobs come to both, then each is done exactly once."""
    service = make_service(apis=2, workers=2)
    ids = [service.submit(api=number % 2, **SMALL | {"seed": number, "n_iter": 2}) for number in range(12)]
    for number, task_id in enumerate(ids):
        result = service.wait(task_id, timeout=120, api=(number + 1) % 2).json()
        assert result["State"] == "SUCCESS"
        assert result["Seeds"] == [number, number + 1]

    client: Any = redis.Redis.from_url(service.redis_url, decode_responses=True)
    tasks = [client.hget(f"{service.key_prefix}job:{task_id}", f"row:{task}") for task_id in ids for task in (0, 1)]
    assert all(task and '"attempt":1' in task for task in tasks), "no task may run twice"
    assert [client.llen(key) for key in client.scan_iter(f"{service.key_prefix}recent:*")] == [12]
    client.close()

    recents = [service.get("/recent", api=api).json() for api in (0, 1)]
    assert recents[0] == recents[1]
    assert len(recents[0]["Recent_finished_images"]) == 10


@pytest.fixture(scope="module")
def to_be_broken(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("to-be-broken"), redis_server)
    yield service
    service.close()


@pytest.fixture
def breakable(to_be_broken: Service) -> Service:
    """A service of one API and one worker that a test may stop, kill and leave incomplete: it is made whole before."""
    if not (to_be_broken.redis and to_be_broken.redis.alive):
        to_be_broken.start_redis()
    if not to_be_broken.workers:
        to_be_broken.start_worker()
    if not to_be_broken.apis:
        to_be_broken.start_api()
    to_be_broken.wait_ready()
    return to_be_broken


def test_everything_survives_a_restart(breakable: Service) -> None:
    """Given finished jobs, when API, worker and Redis start anew, then results, recent and seeds are as before."""
    service = breakable
    retried = {"Idempotency-Key": "my first"}
    before = service.wait(service.post("/generate", SMALL, headers=retried).json()["task_id"]).json()
    recent = service.get("/recent").json()
    time.sleep(1.1)  # Redis writes its journal once a second

    assert service.redis
    service.stop(service.apis[0].child)
    service.stop(service.workers[0])
    service.kill(service.redis)
    service.start_redis()
    service.start_worker()
    service.start_api()
    service.wait_ready()

    assert service.get("/recent").json() == recent
    assert service.get(f"/status/{before['task_id']}").json()["Image"] == before["Image"]
    assert service.post("/generate", SMALL, headers=retried).json()["task_id"] == before["task_id"]
    assert service.post("/generate", SMALL | {"seed": 99}, headers=retried).status_code == 409
    assert service.wait(service.submit(**SMALL)).json()["Image"] == before["Image"]


def test_a_stopping_server_answers_who_waits_and_drops_idle_connections(breakable: Service) -> None:
    """Given an idle connection and one that waits for an image, when the API stops, then the latter learns its job."""
    service = breakable
    idle = http.client.HTTPConnection(service.apis[0].url.removeprefix("http://"), timeout=60)
    with closing(idle), ThreadPoolExecutor(1) as pool:
        idle.request("GET", "/health")
        assert idle.getresponse().read()
        body = LONG | {"ddim_steps": 150, "synchronous_request": True}
        with redis.Redis.from_url(service.redis_url) as client:

            def jobs() -> int:
                return len(list(client.scan_iter(f"{service.key_prefix}job:*")))

            before = jobs()
            waiting = pool.submit(service.post, "/generate", body)
            while jobs() == before:
                assert not waiting.done()
                time.sleep(0.05)
        service.stop(service.apis[0].child)
        assert waiting.result(60).status_code == 202
        assert idle.sock.recv(1) == b"", "the server has closed it"
    assert "graceful timeout" not in "\n".join(service.logs().values())


def test_redis_away_is_503_and_mends_itself(breakable: Service) -> None:
    """Given Redis dies, when jobs are submitted, then 503; when it is back, then the same API takes and does them."""
    service = breakable
    waiting = service.submit(**LONG | {"ddim_steps": 60})
    until(service, waiting, "PROGRESS")
    time.sleep(1.1)
    assert service.redis
    service.kill(service.redis)
    for answer in (service.post("/generate", SMALL), service.get(f"/status/{waiting}"), service.get("/recent")):
        assert answer.status_code == 503
        assert answer.json()["code"] == "service_unavailable"
        assert int(answer.headers["Retry-After"]) > 0
    assert service.get("/health").status_code == 200
    assert service.get("/ready").status_code == 503

    service.start_redis()
    service.wait_ready()
    assert service.wait(service.submit(**SMALL), timeout=120).json()["State"] == "SUCCESS"
    assert service.wait(waiting, timeout=120).json()["State"] == "SUCCESS"


def test_a_stopped_worker_finishes_what_it_has_begun(breakable: Service) -> None:
    """Given SIGTERM in the middle of a job, when the worker leaves, then the job was finished in its 1st attempt."""
    service = breakable
    task_id = service.submit(**LONG | {"ddim_steps": 60})
    until(service, task_id, "PROGRESS")
    service.stop(service.workers[0], grace_s=60)
    result = service.get(f"/status/{task_id}").json()
    assert result["State"] == "SUCCESS"
    assert base64.b64decode(result["Image"][0]).startswith(b"\x89PNG")


@pytest.mark.full
def test_results_expire(make_service: ServiceFactory) -> None:
    """Given a short life of results, when it is over, then status is 410 and an image not to be kept is gone."""
    service = make_service(RESULT_TTL_S="3")
    task_id = service.submit(**SMALL | {"skip_save": True})
    result = service.wait(task_id).json()
    assert service.get(result["Images"][0]).status_code == 200
    end = time.monotonic() + 120
    while service.get(f"/status/{task_id}").status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.2)
    assert service.get(f"/status/{task_id}").status_code == 410
    assert service.get(result["Images"][0]).status_code == 410
    while (service.output_dir / ".expiring" / task_id).exists():
        assert time.monotonic() < end
        time.sleep(0.5)
