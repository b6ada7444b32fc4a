"""A relay that loses the answers to the first requests, as a bad connection does."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


class DroppingRelay:
    """Hands whole connections through to a server; of the first `drops` it sends nothing back, and closes them.

    `lost` counts the answers that did not arrive.
    """

    def __init__(self, target: str, drops: int) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 80)
        self._drops = drops
        self.lost = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                drop, self._drops = self._drops > 0, self._drops - 1
                threading.Thread(target=self._hand_through, args=(client, drop), daemon=True).start()

    def _hand_through(self, client: socket.socket, drop: bool) -> None:
        with client, socket.create_connection(self._target) as server:
            there = threading.Thread(target=_pump, args=(client, server), daemon=True)
            there.start()
            if drop:
                server.recv(1)  # the server has done its work
                self.lost += 1
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
            else:
                _pump(server, client)
            there.join()

    def close(self) -> None:
        self._listener.close()


@contextmanager
def dropping(target: str, drops: int) -> Iterator[DroppingRelay]:
    relay = DroppingRelay(target, drops)
    try:
        yield relay
    finally:
        relay.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
