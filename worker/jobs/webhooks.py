"""Tells the address that a request named that its job has ended: the answer of /status, signed, until it is taken.

Every call goes to an address that was looked up once and checked (`shared/callback_hosts.py`); redirects are not
followed, nothing of the answer but its status is read, and no call takes longer than a bound.
"""

import hashlib
import hmac
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import redis

from shared.callback_hosts import CallbackHosts, CallbackUrl
from shared.errors import Gone, NotFound, ResultMissing, ServiceError
from shared.jobs.records import Job, State
from shared.jobs.result_stream import result_stream
from shared.jobs.status import describe
from shared.jobs.store import JobStore
from shared.jobs.webhooks import DueCallback
from shared.logs import about_job
from shared.storage.results import ResultStore

log = logging.getLogger(__name__)

_CONNECT_S = 5.0
_WHOLE_CALL_S = 15.0
# how long one look for callbacks that are due goes on: a worker that is to stop waits for it
_AT_ONCE_S = 1.0
_FIRST_PAUSE_S = 2.0
_LONGEST_PAUSE_S = 600.0


class Refused(Exception):
    """The address may not be called."""


class CallbackSender:
    """Makes the callbacks that are due. Meant for a thread of its own: it waits for servers of others."""

    def __init__(
        self,
        jobs: JobStore,
        results: ResultStore,
        hosts: CallbackHosts,
        secret: str,
        attempts: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._jobs = jobs
        self._results = results
        self._hosts = hosts
        self._secret = secret.encode()
        self._attempts = attempts
        self._tls = tls or ssl.create_default_context()

    def send_due(self) -> None:
        """Make the callbacks that are due, for a second or so. May raise `redis.RedisError`."""
        until = time.monotonic() + _AT_ONCE_S
        while time.monotonic() < until and (due := self._jobs.callbacks.take(self._jobs.clock())):
            with about_job(due.job_id):
                self._send(due)

    def _send(self, due: DueCallback) -> None:
        if due.attempt > self._attempts:
            # each of them ended with the process that made it
            log.error("the callback is given up after attempt %d: none of them came to an end", due.attempt - 1)
            self._jobs.callbacks.drop(due.job_id)
            return
        try:
            job = self._jobs.get(due.job_id)
            status = self._post(CallbackUrl.parse(job.request.callback_url or ""), job, due.attempt)
            problem = "" if 200 <= status < 300 else f"status {status}"
        except (NotFound, Gone):
            log.warning("the job expired before its callback was taken")
            self._jobs.callbacks.drop(due.job_id)
            return
        except redis.RedisError:
            raise  # the lease ends, and somebody tries again
        except (OSError, http.client.HTTPException, ValueError, Refused, ServiceError) as failed:
            problem = f"{type(failed).__name__}: {failed}"
        except Exception as unforeseen:
            # it counts like any other: it must neither be tried for ever nor stop the others
            log.exception("the callback failed in a way that nobody foresaw")
            problem = f"{type(unforeseen).__name__}: {unforeseen}"
        if not problem:
            log.info("the callback was taken, attempt %d", due.attempt)
            self._jobs.callbacks.drop(due.job_id)
        elif due.attempt >= self._attempts:
            log.error("the callback is given up after attempt %d: %s", due.attempt, problem)
            self._jobs.callbacks.drop(due.job_id)
        else:
            pause = pause_after(due.attempt)
            log.warning("the callback failed at attempt %d, again in %.0f s: %s", due.attempt, pause, problem)
            self._jobs.callbacks.again(due.job_id, self._jobs.clock() + pause)

    def _post(self, url: CallbackUrl, job: Job, attempt: int) -> int:
        """The status of the answer. Raises Refused, OSError and HTTPException."""
        address = checked_address(url, self._hosts)
        length, body = self._answer(job)
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(length),
            "User-Agent": "personal-diffusion",
            "X-Task-Id": job.id,
            "X-Attempt": str(attempt),
            "X-Signature": signature(self._secret, int(self._jobs.clock()), body),
        }
        return post(url, address, body, headers, self._tls)

    def _answer(self, job: Job) -> tuple[int, Iterable[bytes]]:
        """What GET /status says, with the images in base64 where the request asked for that: its length, its pieces."""
        if job.state is State.SUCCESS and job.request.return_base64:
            with suppress(ResultMissing):
                stream = result_stream(job, self._results, _dumps)
                return stream.length, stream
        text = _dumps(describe(job, self._results))
        return len(text), [text]


def _dumps(answer: Mapping[str, object]) -> bytes:
    return json.dumps(answer, ensure_ascii=False).encode()


def pause_after(attempt: int) -> float:
    """Seconds until the next attempt: twice as many each time, give or take a fifth so that they do not meet."""
    pause: float = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2 ** (attempt - 1))
    return pause * random.uniform(0.8, 1.2)  # noqa: S311 - nobody gains by guessing it


def signature(secret: bytes, timestamp: int, body: Iterable[bytes]) -> str:
    """`t=<seconds since the epoch>,v1=<HMAC-SHA256 of "<t>.<body>" in hexadecimal>`; the body comes in pieces."""
    digest = hmac.new(secret, b"%d." % timestamp, hashlib.sha256)
    for piece in body:
        digest.update(piece)
    return f"t={timestamp},v1={digest.hexdigest()}"


def checked_address(
    url: CallbackUrl, hosts: CallbackHosts, look_up: Callable[..., list[tuple[Any, ...]]] = socket.getaddrinfo
) -> str:
    """The address to connect to, looked up once. Raises Refused when there is none that may be, and OSError."""
    if objection := hosts.objection(url):
        raise Refused(objection)
    found = [str(entry[4][0]) for entry in look_up(url.host, url.port, type=socket.SOCK_STREAM)]
    allowed = [address for address in found if hosts.may_connect(address)]
    if not allowed:
        raise Refused(f"'{url.host}' leads to {', '.join(found)}: list such an address in CALLBACK_HOSTS to allow it")
    return allowed[0]


class _Connection(http.client.HTTPConnection):
    """Connects to the address that was checked, whatever the host's name leads to by now."""

    def __init__(self, url: CallbackUrl, address: str, tls: ssl.SSLContext | None) -> None:
        super().__init__(url.host, url.port, timeout=_CONNECT_S)
        self.default_port = 443 if tls else 80  # decides whether the port stands in the header Host
        self._address = address
        self._tls = tls

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._tls:
            # the handshake apart, so that `cut` has the socket while it goes on
            wrapped = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
            self.sock = wrapped
            wrapped.do_handshake()

    def cut(self) -> None:
        """End it from another thread: whoever waits for it gets an error."""
        if self.sock:
            with suppress(OSError):
                socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


def post(
    url: CallbackUrl,
    address: str,
    body: bytes | Iterable[bytes],
    headers: Mapping[str, str],
    tls: ssl.SSLContext,
    whole_call_s: float = _WHOLE_CALL_S,
) -> int:
    """POST `body` to `url` at `address`; gives the status and reads no more. Raises OSError and HTTPException.

    A server that sends its answer byte by byte does not hold it longer than `whole_call_s` seconds.
    """
    connection = _Connection(url, address, tls if url.scheme == "https" else None)
    limit = threading.Timer(whole_call_s, connection.cut)
    limit.daemon = True
    limit.start()
    try:
        connection.request("POST", url.target, body, dict(headers))
        return connection.getresponse().status
    finally:
        limit.cancel()
        connection.close()
