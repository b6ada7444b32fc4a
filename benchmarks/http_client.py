"""The client of `benchmarks.http`: connections that each send one request after the other, and time the answers."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

CONNECTIONS = 16


@dataclass(frozen=True)
class Load:
    """What the connections sent in a while: the seconds each answer took, and how long all of it went on."""

    latencies: tuple[float, ...]
    seconds: float

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def __add__(self, other: "Load") -> "Load":
        return Load(self.latencies + other.latencies, self.seconds + other.seconds)


class Connection(asyncio.Protocol):
    """One client's connection: as soon as an answer is complete the next request goes out, until `end`."""

    def __init__(self, request: bytes, status: bytes, end: float) -> None:
        self.latencies: list[float] = []
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request, self._status, self._end = request, b"HTTP/1.1 " + status, end
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(body) < length:
            return
        if not head.startswith(self._status):
            self._give_up(f"an answer that was not expected: {self._received[:500]!r}")
            return
        now = time.perf_counter()
        self.latencies.append(now - self._sent)
        self._received = b""
        if now < self._end:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done() and self._end <= time.perf_counter():
            self.over.set_result(None)
        self._give_up("the API closed a connection")

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def _give_up(self, why: str) -> None:
        if not self.over.done():
            self.over.set_exception(RuntimeError(why))
            self._transport.close()


def load(port: int, request: bytes, status: int, seconds: float) -> Load:
    """Send `request` to that port of this machine over all connections for so many seconds.

    Raises RuntimeError for an answer with another status, and OSError when nobody listens.
    """

    async def all_of_them() -> Load:
        loop = asyncio.get_running_loop()
        begun = time.perf_counter()
        connections = []
        for _ in range(CONNECTIONS):
            _, connection = await loop.create_connection(
                lambda: Connection(request, str(status).encode(), begun + seconds), "127.0.0.1", port
            )
            connections.append(connection)
        await asyncio.gather(*(connection.over for connection in connections))
        latencies = tuple(seconds for connection in connections for seconds in connection.latencies)
        return Load(latencies, time.perf_counter() - begun)

    return asyncio.run(all_of_them())


def get(path: str) -> bytes:
    """A GET request as it goes over the connection."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def post(path: str, body: bytes) -> bytes:
    """A POST request with a JSON body as it goes over the connection."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
