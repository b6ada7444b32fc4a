"""The users, in a process of their own: `python -m benchmarks.rivals.clients`.

Each line of the input is a task in JSON, {"port", "users", "bodies"}. The answer is a line as well: {"seconds",
"latencies"} from the first request to the last answer, or {"error"}.
"""

import base64
import http.client
import json
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Self, cast

import click

_TIMEOUT_S = 600.0
_PNG = b"\x89PNG\r\n\x1a\n"


class WrongAnswer(Exception):
    """A server did not answer with the image that was asked for."""


@dataclass(frozen=True)
class Measured:
    """Seconds of all requests together, and of each."""

    seconds: float
    latencies: Sequence[float]


class Clients:
    """The process; a context manager that ends it."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.rivals.clients"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._input, self._output = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input ends it

    def send(self, port: int, users: int, bodies: Sequence[dict[str, Any]]) -> Measured:
        """Raises WrongAnswer."""
        self._input.write(json.dumps({"port": port, "users": users, "bodies": bodies}) + "\n")
        self._input.flush()
        line = self._output.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process of the clients has ended"}
        if "error" in answer:
            raise WrongAnswer(answer["error"])
        return Measured(answer["seconds"], answer["latencies"])


def post(connection: http.client.HTTPConnection, body: dict[str, Any]) -> tuple[int, bytes]:
    """Status and content of the answer."""
    connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, answer.read()


def image_of(status: int, content: bytes, body: dict[str, Any]) -> bytes:
    """The PNG of an answer. Raises WrongAnswer where there is none of the size that was asked for."""
    if status != 200:
        raise WrongAnswer(f"HTTP {status}: {content[:300].decode(errors='replace')}")
    png = base64.b64decode(json.loads(content)["Image"][0])
    if not png.startswith(_PNG) or struct.unpack(">II", png[16:24]) != (body["W"], body["H"]):
        raise WrongAnswer(f"not a PNG of {body['W']}x{body['H']}")
    return png


def image_at(port: int, body: dict[str, Any]) -> bytes:
    """The PNG that a server makes of one request. Raises WrongAnswer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        return image_of(*post(connection, body), body)
    finally:
        connection.close()


def send_all(port: int, users: int, bodies: Sequence[dict[str, Any]]) -> Measured:
    """Let the users begin together, each on a connection that is open already, and wait for the last."""
    answers: dict[int, tuple[int, bytes]] = {}
    times: dict[int, tuple[float, float]] = {}
    failures: list[Exception] = []
    barrier = threading.Barrier(users)

    def user(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
        try:
            connection.connect()
            barrier.wait()
            for number in range(first, len(bodies), users):
                begun = time.perf_counter()
                answers[number] = post(connection, bodies[number])
                times[number] = begun, time.perf_counter()
        except (OSError, http.client.HTTPException, threading.BrokenBarrierError) as failure:
            failures.append(failure)
            barrier.abort()
        finally:
            connection.close()

    threads = [threading.Thread(target=user, args=(first,)) for first in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise WrongAnswer(f"{type(failures[0]).__name__}: {failures[0]}")
    for number, (status, content) in answers.items():
        image_of(status, content, bodies[number])
    begun, ended = zip(*(times[number] for number in range(len(bodies))), strict=True)
    return Measured(max(ended) - min(begun), [end - begin for begin, end in zip(begun, ended, strict=True)])


def main() -> None:
    """Do what each line of the input says."""
    for line in sys.stdin:
        try:
            done = send_all(**json.loads(line))
            click.echo(json.dumps({"seconds": done.seconds, "latencies": list(done.latencies)}))
        except WrongAnswer as wrong:
            click.echo(json.dumps({"error": str(wrong)}))


if __name__ == "__main__":
    main()
