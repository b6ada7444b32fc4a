"""A machine that loses power leaves Redis' log torn at any byte: what the rest of it tells is whole jobs."""

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from client.local.embedded_redis import answers
from client.local.processes import start_child, stop_children
from shared.jobs.records import State, TaskRef
from shared.jobs.store import JobStore
from tests.chaos.conftest import Scale
from tests.e2e.service import free_port
from tests.redis_over_tcp import redis_command
from tests.worker.jobs.conftest import request_of

Keep = Callable[..., None]


class Server:
    """A Redis on a folder of its own; `with` runs it, and its end is a kill."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program = program
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def __enter__(self) -> Any:
        port = free_port()
        command = redis_command(self._program, port, self.folder)
        self._child = start_child(
            "redis", command, environment=dict(os.environ), log=self.folder / "redis.log", cwd=self.folder,
            when_orphaned=signal.SIGKILL,
        )  # fmt: skip
        url = f"redis://127.0.0.1:{port}/0"
        while answers(url):
            assert self._child.alive, self._child.last_words()
        self._client = redis.Redis.from_url(url, decode_responses=True)
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        stop_children([self._child], 20)


def work(store: JobStore, count: int, chance: random.Random) -> None:
    """Jobs in every state that a record can be in."""
    for number in range(count):
        job_id = f"job-{number}"
        store.accept(job_id, request_of(n_iter=chance.randint(1, 4), prompts=("käse 🧀",)), f"owner {number % 3}")
    tasks: list[tuple[str, TaskRef]] = []
    for number in range(2 * count):
        if task := store.claims.take(f"message {number}", "any"):
            tasks.append((f"message {number}", task))
    for message, task in tasks:
        what = chance.random()
        if what < 0.1:
            store.cancel(task.job_id)
        if what < 0.2 or not (claim := store.claims.claim(task.job_id, task.number, message)):
            continue
        if what < 0.3:
            store.claims.release(claim)
        elif what < 0.8:
            if store.claims.finish(claim, [], {"device": "cpu"}, []):
                store.close(task.job_id, None)
            store.backlog.drop(message, task)


def check(client: Any) -> tuple[int, int]:
    """Every unfinished task is queued or taken, and no list names a job without record; counts jobs and such tasks."""
    store = JobStore(client)
    held = {str(taken.task) for taken in store.backlog.taken()}
    queued = set(client.zrange("pd:backlog:rows:any", 0, -1))
    records = {key.removeprefix("pd:job:") for key in client.scan_iter("pd:job:*")}
    assert {task.rpartition(":")[0] for task in queued | held} <= records, "a task without record"
    open_jobs, tasks = set(), 0
    for job_id in records:
        job = store.get(job_id)
        if job.state.final:
            assert not {task for task in queued if task.rpartition(":")[0] == job_id}
            continue
        open_jobs.add(job_id)
        unfinished = {str(TaskRef(job_id, number)) for number, task in enumerate(job.tasks) if not task.done}
        assert unfinished <= queued | held, "a task that nobody would begin"
        assert len(job.tasks) - len(unfinished) == int(client.hget(f"pd:job:{job_id}", "done"))
        tasks += len(unfinished)
    assert set(store.backlog.open_jobs(0, 10_000)) == open_jobs
    assert set(client.hkeys("pd:backlog:work")) == open_jobs
    waiting = {job_id for job_id in open_jobs if store.get(job_id).state is State.PENDING}
    assert set(client.zrange("pd:backlog:jobs", 0, -1)) == waiting
    return len(records), tasks


def test_a_torn_log_tells_whole_jobs(redis_server: Path, tmp_path: Path, scale: Scale, keep_figures: Keep) -> None:
    """Given Redis' log cut at random bytes, when it starts again, then each task is queued, taken or done."""
    cuts, jobs, chance = scale(8, 60), scale(40, 120), random.Random(7)
    whole = Server(redis_server, tmp_path / "whole")
    with whole as client:
        work(JobStore(client, lease_s=30), jobs, chance)
        assert check(client)[0] == jobs
    (log,) = sorted(whole.folder.rglob("*.incr.aof")) or whole.folder.rglob("*.aof")
    size = log.stat().st_size
    seen = []
    for number in range(cuts):
        torn = Server(redis_server, tmp_path / f"torn-{number}")
        shutil.rmtree(torn.folder)
        shutil.copytree(whole.folder, torn.folder)
        os.truncate(torn.folder / log.relative_to(whole.folder), chance.randrange(size // 20, size))
        with torn as client:
            seen.append(check(client))
        shutil.rmtree(torn.folder)
    assert any(records for records, _ in seen)
    assert any(tasks for _, tasks in seen)
    keep_figures(cuts=cuts, job_records=sum(records for records, _ in seen), tasks_lost=0, tasks_without_record=0)
