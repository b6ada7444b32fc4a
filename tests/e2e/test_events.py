"""Events and waiting through a real gunicorn: hundreds who listen, clients that hang up, a server that ends."""

import base64
import io
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import requests
from PIL import Image

from tests.e2e.service import FINAL_STATES, Service
from tests.e2e.test_getting_out import until

WAITING: dict[str, Any] = {"prompt": "a red circle", "synchronous_request": True}
LISTENERS = 150
# what Redis may be asked in the time it takes to tell one of them: a cancel, reads of its job, the reader's next wait
FEW = 60


@pytest.fixture(scope="module")
def idle(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API that cancels the jobs of clients that are gone, and one that keeps them; nobody works."""
    service = Service(tmp_path_factory.mktemp("idle"), redis_server, DISCONNECT_GRACE_S="0.2")
    try:
        service.start_redis()
        service.start_api(ON_DISCONNECT="cancel")
        service.start_api()
        yield service
    finally:
        service.close()


def events(answer: requests.Response) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Id, name and data of each event of a stream."""
    told: dict[str, str] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.decode().partition(": ")
            told[name] = value
        elif "event" in told:
            yield told["id"], told["event"], json.loads(told["data"])
            told = {}


def test_a_drawing_is_told_with_previews(service: Service) -> None:
    """Given a job on a real worker, when its events are listened to, then steps, previews of the running engine and the
    end come, in this order of steps, and the links lead to the images."""
    task_id = service.submit(prompt="a red circle", seed=7, ddim_steps=60)
    with service.get(f"/events/{task_id}?previews=true", stream=True) as answer:
        told = list(events(answer))

    kinds = [kind for _, kind, _ in told]
    assert set(kinds) - {"queued"} == {"progress", "preview", "done"}
    assert kinds.count("done") == 1
    steps = [data["Step"] for _, kind, data in told if kind == "progress"]
    assert steps == sorted(steps)
    preview = next(data for _, kind, data in told if kind == "preview")
    assert Image.open(io.BytesIO(base64.b64decode(preview["Image"]))).format == "JPEG"
    done = told[-1][2]
    assert done["Seeds"] == [7]
    assert service.get(done["Images"][0]).headers["Content-Type"] == "image/png"


def commands(connection: Any) -> int:
    """How many commands Redis has carried out."""
    stats = connection.info("commandstats")
    return sum(each["calls"] for name, each in stats.items() if name != "cmdstat_info")


def test_hundreds_who_listen_cost_one_connection_and_poll_nothing(idle: Service) -> None:
    """Given many clients that listen to a job each, when one of the jobs ends, then its client is told, one connection
    waits at Redis for all of them, and Redis was asked no more than for one."""
    with redis.Redis.from_url(idle.redis_url, decode_responses=True) as connection, ExitStack() as stack:
        ids = [idle.submit(prompt="a red circle", ddim_steps=1) for _ in range(LISTENERS)]
        streams = []
        for task_id in ids:
            answer = stack.enter_context(closing(requests.get(f"{idle.url}/events/{task_id}", stream=True, timeout=60)))
            streams.append(events(answer))
        assert {next(stream)[1] for stream in streams} == {"queued"}
        asked = commands(connection)
        idle.post(f"/cancel/{ids[-1]}")  # nobody is behind it
        assert [kind for _, kind, _ in streams[-1]] == ["cancelled"]
        places = commands(connection) - asked - LISTENERS  # a rank each, in one round trip
        waiting = [each for each in connection.client_list() if each["cmd"].startswith("xread")]

        assert len(waiting) == 1
        assert places < FEW
    for task_id in ids:
        idle.post(f"/cancel/{task_id}")


def hang_up(idle: Service, api: int) -> str:
    """A client asks for an image and waits, and hangs up as soon as its job is there; gives the job's id."""
    address = urlsplit(idle.apis[api].url)
    body = json.dumps(WAITING | {"api_key": "lksalsdfjliadfds"}).encode()
    head = (
        f"POST /generate HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with redis.Redis.from_url(idle.redis_url, decode_responses=True) as connection:
        known = set(connection.scan_iter(f"{idle.key_prefix}job:*"))
        with socket.create_connection((address.hostname, address.port)) as client:
            client.sendall(head.encode() + body)
            (key,) = until(lambda: set(connection.scan_iter(f"{idle.key_prefix}job:*")) - known)
            job_id = str(key.rpartition(":")[2])
            if api == 0:
                until(lambda: connection.exists(f"{idle.key_prefix}waits:{job_id}"))
        return job_id


def test_a_client_that_hangs_up_is_noticed(idle: Service) -> None:
    """Given ON_DISCONNECT=cancel, when a client that waits hangs up, then its job is cancelled a moment later."""
    task_id = hang_up(idle, 0)
    until(lambda: idle.get(f"/status/{task_id}").json()["State"] in FINAL_STATES)
    assert idle.get(f"/status/{task_id}").json()["State"] == "REVOKED"


def test_a_lost_connection_loses_no_work(idle: Service) -> None:
    """Given the native dialect as it is, when a client that waits hangs up, then its job goes on when those of clients
    that hung up later, elsewhere, are long cancelled."""
    kept, cancelled = hang_up(idle, 1), hang_up(idle, 0)
    until(lambda: idle.get(f"/status/{cancelled}").json()["State"] in FINAL_STATES)
    assert idle.get(f"/status/{kept}").json()["State"] == "PENDING"
    idle.post(f"/cancel/{kept}")


def test_a_server_that_ends_ends_its_streams(idle: Service) -> None:
    """Given clients that listen and wait, when the server is told to end, then the streams end without an end of the
    job, who waits gets its job's address, and a listener follows on at another server."""
    api = idle.start_api()
    task_id = idle.submit(prompt="a red circle")
    with closing(requests.get(f"{api.url}/events/{task_id}", stream=True, timeout=60)) as answer:
        told = events(answer)
        last, kind, _ = next(told)
        assert kind == "queued"
        idle.stop(api.child)
        assert list(told) == []
    idle.post(f"/cancel/{task_id}")
    with idle.get(f"/events/{task_id}", headers={"Last-Event-ID": last}, stream=True) as answer:
        assert [kind for _, kind, _ in events(answer)] == ["cancelled"]
