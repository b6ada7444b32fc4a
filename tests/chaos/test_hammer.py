"""Clients that repeat themselves and cancel, while processes are killed: one job a key, and nothing is left behind."""

import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import redis
import requests

from shared.jobs.store import JobStore
from shared.settings import DUMMY_API_KEY
from tests.chaos.conftest import Scale
from tests.chaos.traffic import TINY, until
from tests.e2e.service import FINAL_STATES, Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]


class Hammer:
    """Threads that submit under few keys again and again, and cancel what they were given."""

    def __init__(self, service: Service) -> None:
        self.jobs_of_key: dict[str, set[str]] = defaultdict(set)
        self.accepted = self.cancelled = self.broken = 0
        self._service = service
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._run = uuid.uuid4().hex
        self._threads: list[threading.Thread] = []

    def start(self, clients: int) -> None:
        self._threads = [threading.Thread(target=self._strike, args=(number,)) for number in range(clients)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _strike(self, number: int) -> None:
        chance = random.Random(number)
        begun = time.monotonic()
        with requests.Session() as session:
            while not self._stop.is_set():
                # of late keys, so that several clients retry the same one at the same time
                key = int((time.monotonic() - begun) * 4) + chance.randint(-3, 0)
                try:
                    self._submit(session, key, chance)
                except requests.RequestException:
                    with self._lock:
                        self.broken += 1

    def _submit(self, session: requests.Session, key: int, chance: random.Random) -> None:
        # killed ones are replaced meanwhile
        api = self._service.apis[chance.randrange(len(self._service.apis))].url
        headers = {"X-API-Key": DUMMY_API_KEY, "Idempotency-Key": f"{self._run} {key}"}
        body = TINY | {"seed": 1000 + key, "n_iter": 2}
        answer = session.post(f"{api}/generate", json=body, headers=headers, timeout=30)
        if answer.status_code != 202:
            assert answer.status_code in (429, 503), answer.text
            return
        job_id = answer.json()["task_id"]
        with self._lock:
            self.accepted += 1
            self.jobs_of_key[str(key)].add(job_id)
        if chance.random() < 0.25:
            cancelled = session.post(f"{api}/cancel/{job_id}", headers=headers, timeout=30)
            with self._lock:
                self.cancelled += cancelled.status_code == 200


def left_behind(client: Any, prefix: str) -> dict[str, int]:
    """How many entries each list has that names tasks, jobs or messages which are still to be worked on."""
    backlog = f"{prefix}backlog:"
    sizes = {"taken": client.hlen(f"{backlog}taken"), "work": client.hlen(f"{backlog}work")}
    sizes |= {name: client.zcard(f"{backlog}{name}") for name in ("jobs", "open", "rows:any")}
    sizes |= {key: client.zcard(key) for key in client.scan_iter(f"{backlog}owner:*")}
    sizes |= {"unacked": client.hlen(f"{prefix}unacked"), "messages": client.llen(f"{prefix}images.any")}
    return {name: int(size) for name, size in sizes.items() if size}


@pytest.mark.full
def test_one_job_a_key_and_nothing_left_behind(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given retries under keys and cancels from many clients, when processes are killed, then no key has two jobs."""
    seconds, kills = scale((8.0, 2), (60.0, 6))
    service = make_service(
        workers=2, apis=2, VISIBILITY_TIMEOUT_S="4", MAX_ATTEMPTS="9", MAX_WAITING_JOBS="0", LOG_FORMAT="json",
    )  # fmt: skip
    hammer = Hammer(service)
    hammer.start(8)
    try:
        for number in range(kills):
            time.sleep(seconds / (kills + 1))
            if number % 2:
                service.kill(service.workers[0])
                service.start_worker()
            else:
                service.kill(service.apis[0].child)
                service.start_api()
        time.sleep(seconds / (kills + 1))
    finally:
        hammer.stop()
    assert hammer.accepted > hammer.cancelled > 0
    assert [jobs for jobs in hammer.jobs_of_key.values() if len(jobs) > 1] == []

    jobs = [job_id for ids in hammer.jobs_of_key.values() for job_id in ids]
    for job_id in jobs:
        service.wait(job_id, timeout=240)
    states = [service.get(f"/status/{job_id}") for job_id in jobs]
    told = [answer.json()["State"] for answer in states]
    assert set(told) <= set(FINAL_STATES) - {"FAILURE"}
    with redis.Redis.from_url(service.redis_url, decode_responses=True) as client:
        with suppress(AssertionError):
            until(lambda: not left_behind(client, service.key_prefix), 60, "something is left")
        assert left_behind(client, service.key_prefix) == {}
        assert JobStore(client, service.key_prefix).recovery.loose_tasks(jobs[:100]) == set()
    keep_figures(
        seconds=seconds, kills=kills, keys=len(hammer.jobs_of_key), posts_accepted=hammer.accepted,
        cancels=hammer.cancelled, requests_cut_off=hammer.broken, keys_with_two_jobs=0, jobs_stuck=0, entries_left=0,
    )  # fmt: skip
