"""Telling the caller that a job has ended, with a real Redis and real servers on the loopback interface."""

import base64
import hashlib
import hmac
import http.client
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.callback_hosts import CallbackHosts, CallbackUrl
from shared.errors import StoreUnavailable
from shared.jobs.records import StoredImage, result_folder
from shared.jobs.status import describe
from shared.jobs.store import JobStore
from shared.settings import Settings, SettingsError
from shared.storage.results import ResultStore
from tests.conftest import Clock
from tests.receiver import Receiver
from tests.worker.jobs.conftest import request_of
from worker.jobs.webhooks import CallbackSender, Refused, checked_address, pause_after, post, signature
from worker.process.worker import Worker

SECRET = "only we two know it"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        yield server


@pytest.fixture
def jobs(redis_client: Any, clock: Clock) -> JobStore:
    return JobStore(redis_client, "test:", clock=clock)


@pytest.fixture
def results(tmp_path: Path) -> ResultStore:
    return ResultStore(str(tmp_path))


@pytest.fixture
def sender(jobs: JobStore, results: ResultStore) -> CallbackSender:
    return CallbackSender(jobs, results, CallbackHosts(["127.0.0.1"]), SECRET, attempts=3)


def finished(jobs: JobStore, results: ResultStore, url: str, **changes: Any) -> str:
    """A job that has ended well."""
    request = request_of(callback_url=url, **changes)
    jobs.accept("j", request)
    claim = jobs.claims.claim("j", 0)
    assert claim
    results.write(result_folder("j", request), "0000-10.png", b"the image")
    jobs.claims.finish(claim, [StoredImage("0000-10.png", 10)], {"device": "cpu"}, [])
    jobs.close("j", None)
    return "j"


def test_the_caller_gets_the_status_signed(
    jobs: JobStore, results: ResultStore, sender: CallbackSender, receiver: Receiver, clock: Clock
) -> None:
    """Given a job that has ended, when callbacks are sent, then its caller gets what /status says, once, signed."""
    finished(jobs, results, receiver.url("/hook?token=7"))
    sender.send_due()
    sender.send_due()
    ((path, headers, body),) = receiver.calls
    assert path == "/hook?token=7"
    assert json.loads(body) == json.loads(json.dumps(describe(jobs.get("j"), results)))
    assert json.loads(body)["Images"] == ["/images/j/0000-10.png"]
    assert "Image" not in json.loads(body)
    assert (headers["Content-Type"], headers["X-Task-Id"], headers["X-Attempt"]) == ("application/json", "j", "1")
    assert headers["Host"] == f"127.0.0.1:{receiver.server_port}"
    stamp, digest = (part.partition("=")[2] for part in headers["X-Signature"].split(","))
    assert int(stamp) == int(clock.now)
    assert digest == hmac.new(SECRET.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    assert jobs.callbacks.waiting() == 0


def test_images_come_along_where_base64_was_asked_for(
    jobs: JobStore, results: ResultStore, sender: CallbackSender, receiver: Receiver
) -> None:
    """Given return_base64, when the callback is sent, then the images are in it; links alone if they are gone."""
    finished(jobs, results, receiver.url(), return_base64=True)
    receiver.statuses = [500]
    sender.send_due()
    results.delete_folder(jobs.get("j").folder)
    jobs.callbacks.again("j", 0)
    sender.send_due()
    first, second = (json.loads(body) for _, _, body in receiver.calls)
    assert first["Image"] == [base64.b64encode(b"the image").decode()]
    _, headers, body = receiver.calls[0]
    assert int(headers["Content-Length"]) == len(body)
    stamp = int(headers["X-Signature"].partition(",")[0].removeprefix("t="))
    assert headers["X-Signature"] == signature(SECRET.encode(), stamp, [body])
    assert "Image" not in second
    assert second["Images"] == first["Images"]


def test_a_job_that_failed_or_was_cancelled_tells_too(
    jobs: JobStore, sender: CallbackSender, receiver: Receiver
) -> None:
    """Given a cancelled job, when callbacks are sent, then its caller is told so."""
    jobs.accept("j", request_of(callback_url=receiver.url()))
    sender.send_due()
    assert receiver.calls == []
    jobs.cancel("j")
    sender.send_due()
    assert [json.loads(body)["State"] for _, _, body in receiver.calls] == ["REVOKED"]


def test_what_is_not_taken_is_tried_again_and_given_up(
    jobs: JobStore,
    results: ResultStore,
    sender: CallbackSender,
    receiver: Receiver,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Given a receiver that answers 500, 302 and 404, when time passes, then 3 attempts, each later, and no more."""
    finished(jobs, results, receiver.url())
    receiver.statuses = [500, 302, 404]
    waited = []
    for _ in range(3):
        begun, count = clock.now, len(receiver.calls)
        while len(receiver.calls) == count:
            sender.send_due()
            clock.now += 0.1
        waited.append(clock.now - begun)
    assert [headers["X-Attempt"] for _, headers, _ in receiver.calls] == ["1", "2", "3"]
    assert {path for path, _, _ in receiver.calls} == {"/hook"}, "a redirect must not be followed"
    assert waited[0] < 1 < waited[1] < waited[2]
    clock.now += 10_000
    sender.send_due()
    assert (len(receiver.calls), jobs.callbacks.waiting()) == (3, 0)
    assert "given up after attempt 3: status 404" in caplog.text


def test_nobody_there_is_tried_again(jobs: JobStore, results: ResultStore, sender: CallbackSender) -> None:
    """Given a port where nobody listens, when sent, then the callback is kept for later."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    finished(jobs, results, f"http://127.0.0.1:{port}/")
    sender.send_due()
    assert jobs.callbacks.waiting() == 1


def test_what_the_operator_took_off_the_list_is_not_called(
    jobs: JobStore, results: ResultStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Given a job accepted under another list, when sent, then nobody is called and the log says why."""
    finished(jobs, results, receiver.url())
    CallbackSender(jobs, results, CallbackHosts(["example.org"]), SECRET, attempts=1).send_due()
    assert (receiver.calls, jobs.callbacks.waiting()) == ([], 0)
    assert "does not allow calls to '127.0.0.1'" in caplog.text


def test_a_job_that_is_gone_is_forgotten(
    jobs: JobStore, results: ResultStore, sender: CallbackSender, receiver: Receiver, redis_client: Any
) -> None:
    """Given a record that expired, when its callback is due, then it is dropped."""
    finished(jobs, results, receiver.url())
    redis_client.delete("test:job:j")
    sender.send_due()
    assert (receiver.calls, jobs.callbacks.waiting()) == ([], 0)


@pytest.mark.parametrize("where", ["worker.jobs.webhooks.describe", "worker.jobs.webhooks.checked_address"])
@pytest.mark.parametrize("raised", [KeyError("a field"), RecursionError(), StoreUnavailable("away")], ids=repr)
def test_what_nobody_foresaw_counts_and_does_not_stop_the_others(
    jobs: JobStore, results: ResultStore, sender: CallbackSender, receiver: Receiver, clock: Clock,
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, where: str, raised: Exception,
) -> None:  # fmt: skip
    """Given a callback whose sending raises something else each time, then it is given up after as many attempts as
    any other, and one that is due at the same time is made in the same turn."""
    reals: dict[str, Callable[..., Any]] = {"describe": describe, "checked_address": checked_address}
    real = reals[where.rpartition(".")[2]]
    finished(jobs, results, receiver.url("/bad"))

    def fail_for_the_bad(first: Any, *more: Any) -> Any:
        if getattr(first, "target", "") == "/bad" or getattr(first, "id", "") == "j":
            raise raised
        return real(first, *more)

    monkeypatch.setattr(where, fail_for_the_bad)
    jobs.accept("other", request_of(callback_url=receiver.url("/good")))
    clock.now += 1
    jobs.cancel("other")
    clock.now += 1
    sender.send_due()
    assert [path for path, _, _ in receiver.calls] == ["/good"]
    for _ in range(10):
        clock.now += 10_000
        sender.send_due()
    assert jobs.callbacks.waiting() == 0
    assert caplog.text.count("the callback failed at attempt") == 2
    assert f"given up after attempt 3: {type(raised).__name__}" in caplog.text


def test_one_that_ends_its_process_each_time_is_given_up(
    jobs: JobStore, results: ResultStore, sender: CallbackSender, receiver: Receiver, clock: Clock
) -> None:
    """Given attempts whose workers died amid them, when all have been, then no further one is made."""
    finished(jobs, results, receiver.url())
    for _ in range(3):
        assert jobs.callbacks.take(clock.now)
        clock.now += 1000
    sender.send_due()
    assert (receiver.calls, jobs.callbacks.waiting()) == ([], 0)


# ---- where a name leads


def leading_to(*addresses: str) -> Callable[..., Any]:
    """Stands in for the resolver; a second look gives the loopback address, as one who rebinds a name would."""
    looks = [addresses, ("127.0.0.1",)]

    def look_up(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in looks.pop(0)]

    return look_up


def test_a_name_is_looked_up_once_and_checked() -> None:
    """Given a listed name, when it leads to inner and public addresses, then a public one is taken; else Refused."""
    url, hosts = CallbackUrl.parse("https://hooks.test/"), CallbackHosts(["hooks.test"])
    assert checked_address(url, hosts, leading_to("10.0.0.1", "93.184.216.34")) == "93.184.216.34"
    with pytest.raises(Refused, match=r"leads to 10\.0\.0\.1, 127\.0\.0\.1"):
        checked_address(url, hosts, leading_to("10.0.0.1", "127.0.0.1"))
    assert checked_address(url, CallbackHosts(["hooks.test", "10.0.0.0/8"]), leading_to("10.0.0.1")) == "10.0.0.1"


def test_the_checked_address_is_the_one_connected_to(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given a name that no resolver knows, when posted to a checked address, then it arrives there, with its Host."""
    monkeypatch.setattr("socket.getaddrinfo", _only_addresses(socket.getaddrinfo))
    url = CallbackUrl.parse(receiver.url(host="hooks.test"))
    assert post(url, "127.0.0.1", b"{}", {}, ssl.create_default_context()) == 204
    assert receiver.calls[0][1]["Host"] == f"hooks.test:{receiver.server_port}"


def _only_addresses(real: Callable[..., Any]) -> Callable[..., Any]:
    def look_up(host: str, *arguments: Any, **options: Any) -> Any:
        assert host == "127.0.0.1", f"{host} must not be looked up again"
        return real(host, *arguments, **options)

    return look_up


def test_over_tls_the_certificate_is_the_name_s(receiver: Receiver, tmp_path: Path) -> None:
    """Given a server with a certificate for hooks.test, when posted by address, then that name works and no other."""
    server_side, client_side = _tls(tmp_path, "hooks.test")
    receiver.socket = server_side.wrap_socket(receiver.socket, server_side=True)
    assert post(_url(receiver, "hooks.test"), "127.0.0.1", b"{}", {}, client_side) == 204
    with pytest.raises(ssl.SSLCertVerificationError):
        post(_url(receiver, "other.test"), "127.0.0.1", b"{}", {}, client_side)
    with pytest.raises(ssl.SSLCertVerificationError):
        post(_url(receiver, "hooks.test"), "127.0.0.1", b"{}", {}, ssl.create_default_context())
    assert len(receiver.calls) == 1


def _url(receiver: Receiver, host: str) -> CallbackUrl:
    return CallbackUrl.parse(receiver.url(host=host, scheme="https"))


def _tls(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate for `name`, and a client's that trusts it."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed: no certificate")
    import datetime

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.Encoding.PEM
    (folder / "key.pem").write_bytes(
        key.private_bytes(form, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(form))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "certificate.pem"))


# ---- servers that mean no good


def test_a_server_that_trickles_does_not_hold_a_worker() -> None:
    """Given a server that sends its first line for ever, byte by byte, when posted to, then the call is cut off."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def trickle() -> None:
            with listening.accept()[0] as client:
                try:
                    client.sendall(b"HTTP/1.1 ")
                    while not stop.wait(0.05):
                        client.sendall(b"x")
                except OSError:
                    return

        thread = threading.Thread(target=trickle)
        thread.start()
        url = CallbackUrl.parse(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        with pytest.raises((OSError, http.client.HTTPException)):
            post(url, "127.0.0.1", b"{}", {}, ssl.create_default_context(), whole_call_s=0.5)
        stop.set()
        thread.join()


def test_nothing_of_an_answer_is_read_but_its_status() -> None:
    """Given a server that announces an endless body, when posted to, then the status is there at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        closed = threading.Event()

        def endless() -> None:
            with listening.accept()[0] as client:
                try:
                    client.recv(65536)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n")
                    while True:
                        client.sendall(b"x" * 65536)
                except OSError:
                    closed.set()

        thread = threading.Thread(target=endless)
        thread.start()
        url = CallbackUrl.parse(f"http://127.0.0.1:{listening.getsockname()[1]}/")
        assert post(url, "127.0.0.1", b"{}", {}, ssl.create_default_context()) == 200
        assert closed.wait(30), "the connection must be closed"
        thread.join()


def test_the_documented_check_of_a_signature_works() -> None:
    """Given the function of docs/clients.md, then what we send is genuine; what is changed, old or foreign is not."""
    page = (Path(__file__).parents[3] / "docs" / "clients.md").read_text()
    found = re.search(r"^```python\n(def is_genuine.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert found
    names: dict[str, Any] = {"hmac": hmac, "time": time}
    exec(found[1], names)  # noqa: S102 - our own page
    now = int(time.time())
    is_genuine, header = names["is_genuine"], signature(SECRET.encode(), now, [b"body"])
    assert is_genuine(header, b"body", SECRET)
    assert not is_genuine(header, b"bodY", SECRET)
    assert not is_genuine(header, b"body", "another")
    assert not is_genuine(header.replace(str(now), str(now + 1)), b"body", SECRET)
    assert not is_genuine(signature(SECRET.encode(), now - 400, [b"body"]), b"body", SECRET)


def test_a_worker_that_could_not_sign_does_not_start() -> None:
    """Given hosts to call and no secret, when a worker is put together, then it says which variable is missing."""
    with pytest.raises(SettingsError, match=r"^CALLBACK_SECRET: must be set"):
        Worker(Settings(callback_hosts=("hooks.example.org",)))


def test_pauses_grow_and_end() -> None:
    """Given attempt after attempt, then each pause is longer than the one before, up to a bound."""
    pauses = [pause_after(attempt) for attempt in range(1, 9)]
    assert pauses == sorted(pauses)
    assert 1.5 < pauses[0] < 2.5
    assert pause_after(50) <= 720
