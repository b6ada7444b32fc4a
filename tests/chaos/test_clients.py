"""Clients that are slow, many, or mean no good."""

import concurrent.futures
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import redis
import requests

from shared.settings import DUMMY_API_KEY
from tests.chaos.conftest import FULL, Scale
from tests.chaos.traffic import TINY
from tests.e2e.service import Service

ServiceFactory = Callable[..., Service]
Keep = Callable[..., None]


@contextmanager
def dripping(service: Service, count: int) -> Iterator[list[socket.socket]]:
    """So many clients that send a byte of a request each second."""
    address = urlsplit(service.url)
    request = (
        b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    )
    sockets = [socket.create_connection((address.hostname, address.port), timeout=10) for _ in range(count)]
    done = threading.Event()

    def drip() -> None:
        for position in range(10**6):
            for number, each in enumerate(sockets):
                # every other client is slow in its headers, the others in the body
                text = request if number % 2 or position else request[:-20]
                try:
                    each.sendall(text if position == 0 and number % 2 else text[position : position + 1] or b" ")
                except OSError:
                    continue
            if done.wait(1):
                return

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    try:
        yield sockets
    finally:
        done.set()
        thread.join()
        for each in sockets:
            each.close()


def answer_times(service: Service, count: int) -> list[float]:
    """Seconds that so many status requests and submissions took, each on a connection of its own."""
    taken = []
    for number in range(count):
        begun = time.monotonic()
        if number % 2:
            assert requests.get(service.url + "/health", timeout=30).status_code == 200
        else:
            headers = {"X-API-Key": DUMMY_API_KEY}
            answer = requests.post(service.url + "/generate", json=TINY | {"seed": number}, headers=headers, timeout=30)
            assert answer.status_code == 202
        taken.append(time.monotonic() - begun)
    return taken


def test_slow_clients_hold_up_nobody(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given 200 clients that send a byte a second, when others ask, then they are answered at once."""
    service = make_service(workers=0)
    with dripping(service, 200) as sockets:
        time.sleep(2)
        taken = answer_times(service, scale(10, 100))
        alive = sum(_is_open(each) for each in sockets)
    assert alive > 150, "they must have been slow, not refused"
    assert max(taken) < scale(10, 1)
    keep_figures(
        slow_clients=200,
        requests=len(taken),
        median_s=round(statistics.median(taken), 3),
        slowest_s=round(max(taken), 3),
    )


def _is_open(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


@pytest.mark.full
def test_waiting_clients_hold_up_nobody(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given more clients that wait than may, when others ask, then they are answered; past the cap it is 202."""
    count, cap = scale(60, 500), scale(20, 100)
    service = make_service(workers=0, SYNC_WAITERS=str(cap), SYNC_TIMEOUT_S=str(scale(8, 30)))
    headers = {"X-API-Key": DUMMY_API_KEY}
    at_once: list[int] = []
    lock = threading.Lock()

    def wait(number: int) -> int:
        begun = time.monotonic()
        body = TINY | {"seed": number, "synchronous_request": True}
        answer = requests.post(service.url + "/generate", json=body, headers=headers, timeout=90)
        if time.monotonic() - begun < scale(7, 25):
            with lock:
                at_once.append(number)
        return answer.status_code

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        waiting = [threads.submit(wait, number) for number in range(count)]
        while len(at_once) < count - cap:
            time.sleep(0.1)
        taken = answer_times(service, scale(10, 100))
        statuses = {future.result() for future in waiting}
    assert statuses == {202}
    assert len(at_once) == count - cap
    assert max(taken) < scale(10, 1)
    keep_figures(
        waiting_clients=count, cap=cap, answered_202_at_once=len(at_once), requests=len(taken),
        median_s=round(statistics.median(taken), 3), slowest_s=round(max(taken), 3),
    )  # fmt: skip


@pytest.mark.full
def test_many_cycles_leave_nothing_behind(make_service: ServiceFactory, scale: Scale, keep_figures: Keep) -> None:
    """Given submit and poll again and again, when it has gone on for long, then connections and memory stay."""
    cycles, warm_up = scale((60, 30), (10_000, 1500))
    service = make_service(workers=1)
    client: Any = redis.Redis.from_url(service.redis_url, decode_responses=True)
    processes = {"api": _newest_child(service.apis[0].child.pid), "worker": service.workers[0].pid}
    headers = {"X-API-Key": DUMMY_API_KEY}

    def cycle(session: requests.Session, number: int) -> None:
        body = TINY | {"ddim_steps": 1, "seed": number, "skip_save": True, "return_base64": False}
        job_id = session.post(service.url + "/generate", json=body, headers=headers, timeout=60).json()["task_id"]
        end = time.monotonic() + 120
        while session.get(f"{service.url}/status/{job_id}", timeout=60).headers["Content-Type"] == "application/json":
            assert time.monotonic() < end
            time.sleep(0.01)

    def some(first: int, count: int) -> None:
        with concurrent.futures.ThreadPoolExecutor(4) as threads, requests.Session() as session:
            list(threads.map(lambda number: cycle(session, number), range(first, first + count)))

    def look() -> dict[str, int]:
        time.sleep(2)
        found = {name: _resident(pid) for name, pid in processes.items()}
        connections = client.info("clients")["connected_clients"]
        return found | {"connections": connections, "channels": len(client.pubsub_channels()) + client.pubsub_numpat()}

    some(0, warm_up)
    before = look()
    some(warm_up, cycles - warm_up)
    after = look()
    assert after["connections"] <= before["connections"] + 2
    assert after["channels"] <= before["channels"]
    growth = {name: after[name] / before[name] - 1 for name in processes}
    if FULL:
        assert max(growth.values()) < 0.05
    client.close()
    keep_figures(
        cycles=cycles, connections=[before["connections"], after["connections"]],
        channels=[before["channels"], after["channels"]],
        memory_growth_percent={name: round(100 * value, 2) for name, value in growth.items()},
    )  # fmt: skip


def _newest_child(pid: int) -> int:
    """gunicorn's first process only looks after the one that serves."""
    children = psutil.Process(pid).children()
    return int(children[-1].pid) if children else pid


def _resident(pid: int) -> int:
    """Resident memory of a process in bytes."""
    return int(psutil.Process(pid).memory_info().rss)
