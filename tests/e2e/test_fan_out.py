"""Tasks of one job on whoever is there: what becomes of the grid and of finished images when workers die."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from client.local.processes import Child
from tests.chaos.traffic import events, until
from tests.e2e.service import Service
from tests.receiver import Receiver

SMALL: dict[str, Any] = {"H": 64, "W": 64, "ddim_steps": 2, "return_base64": True, "seed": 1}
ServiceFactory = Callable[..., Service]


@pytest.mark.full
def test_workers_that_die_at_the_grid_and_at_a_task(make_service: ServiceFactory) -> None:
    """Given workers that die at a grid and at a task, then the grid comes out once, and the job of the task fails
    alone.

    The grid: its worker dies after writing it and before the job is closed. The task: its attempts are used up, the job
    is a FAILURE, its caller is told, and its finished image can be had in every way.
    """
    secret = {"CALLBACK_HOSTS": "127.0.0.1", "CALLBACK_SECRET": "secret"}
    service = make_service(
        workers=0, VISIBILITY_TIMEOUT_S="2", MAX_ATTEMPTS="1", WORKER_SLOTS="1", LOG_FORMAT="json", **secret
    )
    (service.prompts_dir / "poisoned.txt").write_text("a red circle\npoison\n")
    with Receiver() as receiver:
        first = fragile(service)
        grid = service.submit(prompt="fatal grid", n_iter=2, skip_grid=False, callback_url=receiver.url(), **SMALL)
        dies(service, first, "the worker must die at the grid")
        assert service.get(f"/status/{grid}").json()["State"] == "PROGRESS"
        second = fragile(service)
        answer = service.wait(grid).json()
        assert (answer["State"], len(answer["Images"])) == ("SUCCESS", 2)
        body = SMALL | {"from-file": "poisoned.txt", "callback_url": receiver.url()}
        failing = service.submit(**body)
        dies(service, second, "the worker must die at the task")
        service.start_worker()
        failed = service.wait(failing).json()
        until(lambda: {call[1]["X-Task-Id"] for call in receiver.calls} == {grid, failing}, 60, "both callers are told")
        told = [json.loads(body) for _, headers, body in receiver.calls if headers["X-Task-Id"] == failing]
    # the grid: closed by the second worker, and drawn by nobody a second time
    mine = [event for event in events(service) if event.job_id == grid]
    assert [event.text for event in mine].count("the job is closed") == 1
    assert sum(event.begins for event in mine) == 3, "two tasks, and one message that came again"
    assert len(list(service.output_dir.rglob(f"{grid}/*.png"))) == 3
    # the task: only it failed
    assert (failed["State"], failed["Error"]["code"]) == ("FAILURE", "attempts_exhausted")
    assert failed["Seeds"] == [1]
    assert told == [failed]
    image = service.get(failed["Images"][0])
    assert (image.status_code, image.headers["Content-Type"]) == (200, "image/png")
    with zipfile.ZipFile(io.BytesIO(service.get(failed["Download"]).content)) as found:
        assert found.read("0000-1.png") == image.content


def fragile(service: Service) -> Child:
    return service.start_worker("tests.chaos.fragile_worker")


def dies(service: Service, worker: Child, problem: str) -> None:
    until(lambda: not worker.alive, 120, problem)
    service.kill(worker)
