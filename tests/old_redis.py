"""A stand-in for a Redis of years ago: it answers PING and INFO, and knows no other command."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Session(socketserver.StreamRequestHandler):
    server: "_Server"

    def handle(self) -> None:
        while head := self.rfile.readline():
            command = [self._word() for _ in range(int(head[1:]))]
            if command[0].upper() == b"PING":
                answer = b"+PONG\r\n"
            elif command[0].upper() == b"INFO":
                text = f"# Server\r\nredis_version:{self.server.version}\r\n".encode()
                answer = b"$%d\r\n%s\r\n" % (len(text), text)
            else:
                answer = b"-ERR unknown command\r\n"
            self.wfile.write(answer)

    def _word(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    version = ""


@contextmanager
def old_redis(version: str) -> Iterator[str]:
    """The address of one that says it is of that version."""
    with _Server(("127.0.0.1", 0), _Session) as server:
        server.version = version
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{server.server_address[1]}/0"
        finally:
            server.shutdown()
            thread.join()
