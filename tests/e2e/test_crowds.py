"""Many connections, slow ones, and large bodies of nobody: what they may cost the others, through a real gunicorn."""

import json
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from shared.settings import DUMMY_API_KEY
from tests.e2e.service import Service

BODY = json.dumps({"prompt": "a red circle", "ddim_steps": 1, "H": 64, "W": 64}).encode()
KEY, WRONG = f"X-API-Key: {DUMMY_API_KEY}", "X-API-Key: wrong"
PLACES = 20


@pytest.fixture(scope="module")
def narrow(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """An API with few places and little memory for bodies, and one without patience; nobody works."""
    service = Service(tmp_path_factory.mktemp("narrow"), redis_server, MAX_BODY_BYTES="3000000")
    try:
        service.start_redis()
        service.start_api(API_CONNECTIONS=str(PLACES), BODY_MEMORY="4MB")
        service.start_api(BODY_TIMEOUT_S="3", STALL_TIMEOUT_S="1")
        yield service
    finally:
        service.close()


@contextmanager
def opened(
    service: Service, head: str, body: bytes = b"", length: int = len(BODY), api: int = 0
) -> Iterator[socket.socket]:
    """A connection on which the head of a POST /generate was sent, and so much of its body."""
    address = urlsplit(service.apis[api].url)
    lines = ["POST /generate HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"Content-Length: {length}"] if "Transfer-Encoding" not in head else []
    text = "\r\n".join([*lines, *filter(None, [head])]) + "\r\n\r\n"
    with closing(socket.create_connection((address.hostname, address.port), timeout=60)) as client:
        client.sendall(text.encode() + body)
        yield client


def answered(client: socket.socket) -> tuple[int, str, str]:
    """Status, head and code of the answer on a connection that the server then closes."""
    data = b""
    while piece := client.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), head.decode(), json.loads(body).get("code", "")


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{",
        b"POST /generate HTTP/1.1\r\nHost: loc",
        b"",
    ],
    ids=["half a body", "half a head", "nothing"],
)
def test_half_open_connections_shut_nobody_out(narrow: Service, begun: bytes) -> None:
    """Given more half-open connections than there are places, when others ask, then they are answered."""
    address = urlsplit(narrow.url)
    with ExitStack() as stack:
        for _ in range(5 * PLACES):
            client = stack.enter_context(
                closing(socket.create_connection((address.hostname, address.port), timeout=60))
            )
            client.sendall(begun)
        # on connections of their own: one that was kept idle may be the next to give way
        for _ in range(3):
            assert requests.get(f"{narrow.url}/health", timeout=60).status_code == 200
            answer = requests.post(
                f"{narrow.url}/generate", json=json.loads(BODY), headers={"X-API-Key": DUMMY_API_KEY}, timeout=60
            )
            assert answer.status_code == 202


def test_who_gives_way_amid_a_body_is_told(narrow: Service) -> None:
    """Given all places taken by half bodies, when more come, then the first of them get 429 in the one shape."""
    with ExitStack() as stack:
        clients = [stack.enter_context(opened(narrow, "", b"{")) for _ in range(3 * PLACES)]
        status, head, code = answered(clients[0])
    assert (status, code) == (429, "too_many_connections")
    assert "Retry-After" in head


def test_a_wrong_key_in_a_header_is_refused_before_the_body(narrow: Service) -> None:
    """Given a wrong key in a header, when nothing of the body has come, then 401 and the end of the connection."""
    for head in (WRONG, "Authorization: Bearer wrong", f"{WRONG}\r\nTransfer-Encoding: chunked"):
        with opened(narrow, head, length=2_000_000) as client:
            status, told, code = answered(client)
        assert (status, code) == (401, "unauthorized")
        assert "connection: close" in told.lower()


def test_a_client_that_sends_on_reads_its_refusal(narrow: Service) -> None:
    """Given a wrong key and a body that is sent all the same, when the client then reads, then 401 is what it reads."""
    with opened(narrow, WRONG, b" " * 2_000_000, length=2_000_000) as client:
        assert answered(client)[0] == 401


def test_a_body_is_asked_for_only_when_it_is_wanted(narrow: Service) -> None:
    """Given Expect: 100-continue, then a wrong key gets 401 and no 100; with a right one the body is asked for."""
    with opened(narrow, f"{WRONG}\r\nExpect: 100-continue") as client:
        status, head, _ = answered(client)
        assert status == 401
        assert "connection: close" in head.lower()
    with opened(narrow, f"{KEY}\r\nExpect: 100-continue\r\nConnection: close") as client:
        assert client.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(BODY)
        assert answered(client)[0] == 202
    with opened(narrow, f"{KEY}\r\nExpect: 100-continue\r\nConnection: close", BODY) as client:
        assert answered(client)[0] == 202, "who does not wait to be asked is not asked"


@pytest.mark.parametrize("framing", ["", "Transfer-Encoding: chunked"])
def test_a_body_that_stalls_is_408(narrow: Service, framing: str) -> None:
    """Given half a body and then nothing, when the time for a pause is over, then 408 in the one shape."""
    sent = b"5\r\n{    \r\n" if framing else b"{    "
    with opened(narrow, f"{KEY}\r\n{framing}".strip(), sent, api=1) as client:
        status, head, code = answered(client)
    assert (status, code) == (408, "body_too_slow")
    assert "connection: close" in head.lower()


def test_a_body_that_drips_for_ever_is_408(narrow: Service) -> None:
    """Given a body that never pauses for long and never ends, when its deadline is over, then 408."""
    with opened(narrow, KEY, length=1_000_000, api=1) as client:
        client.settimeout(0.2)
        answer = b""
        while not answer:
            client.sendall(b" ")
            try:
                answer = client.recv(65536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_bodies_of_nobody_take_bounded_memory_and_nothing_from_who_has_a_key(narrow: Service) -> None:
    """Given unfinished bodies without a key, when they fill their share, then further ones are 503, small ones and
    those with a key in a header are not, and all is free again when they are gone."""
    large = json.dumps({"prompt": "x", "padding": "y" * 1_500_000}).encode()
    with ExitStack() as stack:
        clients = [stack.enter_context(opened(narrow, "", large[:-1], length=len(large))) for _ in range(3)]
        refused, _, _ = select.select(clients, [], [], 60)
        assert refused, "three of 1.5 MB are more than 2 MB"
        assert {answered(client)[2] for client in refused} == {"bodies_full"}
        padded = json.loads(BODY) | {"padding": "y" * 1_500_000}
        assert narrow.post("/generate", padded).status_code == 400, "read whole, and the field named"
        assert narrow.post("/generate", json.loads(BODY) | {"api_key": DUMMY_API_KEY}, key=None).status_code == 202
    for _ in range(3):
        answer = narrow.post("/generate", padded | {"api_key": DUMMY_API_KEY}, key=None)
        assert answer.status_code in (400, 503)
        if answer.status_code == 400:
            break
    assert answer.status_code == 400
