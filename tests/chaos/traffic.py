"""Many jobs at once, what their clients see, and what the workers' logs say happened."""

import json
import math
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import requests

from client.local.processes import Child
from shared.settings import DUMMY_API_KEY
from tests.e2e.service import FINAL_STATES, Service

#: Fractions of a second on two cores.
TINY: dict[str, Any] = {"prompt": "a red circle", "H": 64, "W": 64, "ddim_steps": 2, "return_base64": True}
_MOST_STEPS = 999


def lasting(service: Service, seconds: float) -> dict[str, Any]:
    """A request whose job takes at least so long here, as far as a job of a few steps tells: half as long again.

    Faults need work that is still to do when they strike, and machines differ by more than ten.
    """
    sides = (64, 128, 192, 256, 384, 512)
    for side in sides:
        body: dict[str, Any] = {
            "prompt": "a house", "H": side, "W": side, "hires": "off", "seed": 1, "return_base64": True,
        }  # fmt: skip
        service.wait(service.submit(**body, ddim_steps=2))  # the first of a size is slower
        begun = time.monotonic()
        service.wait(service.submit(**body, ddim_steps=40))
        steps = math.ceil(1.5 * seconds / (time.monotonic() - begun) * 40)
        if steps <= _MOST_STEPS:
            return body | {"ddim_steps": max(steps, 40)}
    raise AssertionError(f"no job of {sides[-1]} pixels a side takes {seconds:.0f} s here")


@dataclass(frozen=True)
class Event:
    """A line of a worker's log about a task. `attempt` is 0 where the line names none."""

    worker: str
    time: float
    job_id: str
    task: int
    text: str
    attempt: int

    @property
    def begins(self) -> bool:
        return self.text.startswith("the task begins")

    @property
    def done(self) -> bool:
        return self.text.startswith("the task is done")

    @property
    def ends(self) -> bool:
        """The worker has no more to do with the task, whatever became of it."""
        return self.text.startswith(("the task is done", "the task is not continued", "the task failed"))


@dataclass(frozen=True)
class Recovery:
    """A task that a killed worker had begun and not done: seconds from the kill to its next beginning.

    `attended_s` are those of them in which at least one worker was ready to take it.
    """

    seconds: float
    attended_s: float


def _entries(service: Service) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Worker, time and content of every line that the workers logged; the service must log JSON."""
    for file in sorted((service.folder / "logs").glob("worker-*.log")):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith("{") and line.endswith("}"):  # a killed process may leave half a line
                entry = json.loads(line)
                yield file.stem, datetime.fromisoformat(entry["timestamp"]).timestamp(), entry


def events(service: Service) -> list[Event]:
    """Everything the workers logged about tasks, in order of time."""
    found = []
    for worker, moment, entry in _entries(service):
        if "task" in entry:
            text = str(entry["event"])
            named = re.search(r"attempt (\d+)$", text)
            found.append(Event(worker, moment, entry["job_id"], entry["task"], text, int(named[1]) if named else 0))
    return sorted(found, key=lambda event: event.time)


def ready_times(service: Service) -> dict[str, float]:
    """When each worker began to take tasks; one that was killed before is not there."""
    return {worker: moment for worker, moment, entry in _entries(service) if str(entry["event"]).endswith(" ready.")}


def recoveries(happened: list[Event], kills: list[tuple[str, float]], ready: dict[str, float]) -> list[Recovery]:
    """How long each task waited that a killed worker left behind."""
    killed = dict(kills)
    at_work = [(since, killed.get(worker, math.inf)) for worker, since in ready.items()]
    found = []
    for worker, moment in kills:
        mine = [event for event in happened if event.worker == worker]
        done = {(event.job_id, event.task) for event in mine if event.done}
        for event in mine:
            if event.begins and (event.job_id, event.task) not in done:
                again = [
                    other.time
                    for other in happened
                    if other.begins and (other.job_id, other.task) == (event.job_id, event.task) and other.time > moment
                ]
                # a task that was done in the very moment of the kill, before its line was written, begins no more
                if again:
                    found.append(Recovery(min(again) - moment, attended(moment, min(again), at_work)))
    return found


def attended(begin: float, end: float, at_work: list[tuple[float, float]]) -> float:
    """Seconds from `begin` to `end` that lie in at least one of the spans."""
    covered, reached = 0.0, begin
    for since, until_then in sorted(at_work):
        covered += max(0.0, min(until_then, end) - max(since, reached))
        reached = max(reached, min(until_then, end))
    return covered


@dataclass
class Watched:
    """What clients saw: every state that a job was in, and the answers to submissions."""

    states: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    accepted: dict[str, float] = field(default_factory=dict)
    answers: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    broken: int = 0

    @property
    def ended(self) -> int:
        return sum(states[-1] in FINAL_STATES for states in self.states.values() if states)

    def count(self, state: str) -> int:
        return sum(states[-1] == state for states in self.states.values() if states)

    @property
    def ended_twice(self) -> int:
        """Jobs that were seen in another state after an end."""
        return sum(any(state in FINAL_STATES for state in states[:-1]) for states in self.states.values())


class Clients:
    """Threads that submit and poll, each with a connection of its own."""

    def __init__(self, service: Service, **body: Any) -> None:
        self.seen = Watched()
        self._service = service
        self._body = TINY | body
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._enough = threading.Event()
        self._threads: list[threading.Thread] = []
        self._numbers = iter(range(10**9))

    def submit(self, count: int, pause_s: float = 0.0) -> None:
        """Submit so many jobs in the background, one after the other; a refusal is tried again after a moment."""
        self._start(self._submit_all, count, pause_s)

    def watch(self) -> None:
        """Poll every job that has not ended, in the background."""
        self._start(self._poll)

    @property
    def submitting(self) -> bool:
        return any(thread.is_alive() for thread in self._threads if thread.name == "_submit_all")

    def stop_submitting(self) -> None:
        """Let the last submission get its answer, then send no more."""
        self._enough.set()

    def stop(self) -> None:
        self._enough.set()
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, name=work.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _submit_all(self, count: int, pause_s: float) -> None:
        with requests.Session() as session:
            for _ in range(count):
                with self._lock:
                    number = next(self._numbers)
                while not self._submit(session, number):
                    if self._stop.wait(0.2):
                        return
                if self._enough.wait(pause_s):
                    return

    def _submit(self, session: requests.Session, number: int) -> bool:
        api = self._service.apis[number % len(self._service.apis)]
        headers = {"X-API-Key": DUMMY_API_KEY, "Idempotency-Key": f"number {number}"}
        try:
            answer = session.post(
                f"{api.url}/generate", json=self._body | {"seed": number}, headers=headers, timeout=30
            )
        except requests.RequestException:
            self.seen.broken += 1
            return False
        with self._lock:
            self.seen.answers[answer.status_code] += 1
            if answer.status_code == 202:
                self.seen.accepted[answer.json()["task_id"]] = time.time()
                self.seen.states[answer.json()["task_id"]].append("PENDING")
        return answer.status_code == 202

    def _poll(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                with self._lock:
                    open_jobs = [
                        job_id
                        for job_id, states in self.seen.states.items()
                        # some that have ended are looked at again: an end must stay
                        if states[-1] not in FINAL_STATES or random.random() < 0.01
                    ]
                for job_id in open_jobs:
                    if self._stop.is_set():
                        return
                    self._look(session, job_id)
                self._stop.wait(0.2)

    def _look(self, session: requests.Session, job_id: str) -> None:
        api = random.choice(self._service.apis)
        try:
            answer = session.get(f"{api.url}/status/{job_id}", timeout=30)
        except requests.RequestException:
            return
        if answer.status_code == 503:
            return
        is_json = answer.headers["Content-Type"].startswith("application/json")
        state = answer.json().get("State", f"HTTP {answer.status_code}") if is_json else "SUCCESS"
        with self._lock:
            if self.seen.states[job_id][-1] != state:
                self.seen.states[job_id].append(state)


@contextmanager
def clients(service: Service, **body: Any) -> Iterator[Clients]:
    """Clients of the service, stopped in the end."""
    traffic = Clients(service, **body)
    try:
        yield traffic
    finally:
        traffic.stop()


class Crew:
    """Keeps as many workers running as there were: one that ended is replaced at the next look."""

    def __init__(self, service: Service, module: str = "worker") -> None:
        self._service = service
        self._module = module
        self._wanted = len(service.workers)
        self.kills: list[tuple[str, float]] = []
        self.replaced = 0

    def kill_one(self) -> None:
        """Kill a random worker at once and start another."""
        victim: Child = random.choice(self._service.workers)
        self._service.kill(victim)
        self.kills.append((victim.name, time.time()))
        self.look()

    def wait_ready(self) -> None:
        """Wait until each worker that runs has said so; a card of a killed one does not count."""

        def ready() -> bool:
            names = {card["name"].rpartition("-")[2] for card in self._service.get("/ready").json()["workers"]}
            return {str(worker.pid) for worker in self._service.workers} <= names

        until(ready, 120, "the workers do not start")

    def look(self) -> None:
        """Replace those that ended."""
        for worker in [worker for worker in self._service.workers if not worker.alive]:
            self._service.kill(worker)
            self.replaced += 1
        while len(self._service.workers) < self._wanted:
            self._service.start_worker(self._module)


def images(service: Service) -> list[Path]:
    """Every image in the result store."""
    return sorted(service.output_dir.rglob("*.png"))


def until(what: Any, timeout_s: float, problem: str) -> float:
    """Wait until `what()` is true; gives the seconds it took."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < timeout_s, problem
        time.sleep(0.05)
    return time.monotonic() - begun
