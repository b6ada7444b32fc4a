"""A hub of our own: the few calls of the Hugging Face hub that a download makes, over a folder of models."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

REVISION = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Serves every folder below `root` as the model `someone/<folder>`. A closed `gate` holds back `held`, or all."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.gate = threading.Event()
        self.gate.set()
        self.held: str | None = None
        self.refused: set[str] = set()
        """Files that are listed and then not given out."""
        self.fetched: list[str] = []
        """The files that were sent, by path; a file that is fetched twice is there twice."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def files(self, model: str) -> dict[str, Path]:
        folder = self.root / model
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


@contextmanager
def running_hub(root: Path) -> Iterator[Hub]:
    """A hub that answers while the block runs."""
    hub = Hub(root)
    thread = threading.Thread(target=hub.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' own words matter."""

    def _answer(self, with_body: bool) -> None:
        path, _, _ = self.path.partition("?")
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._describe(parts[3])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._send_file(parts[1], "/".join(parts[4:]), with_body)
        else:
            self._send(404, b"", {})

    def _describe(self, model: str) -> None:
        files = self.server.files(model)
        if not files:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        siblings = [{"rfilename": name, "size": path.stat().st_size} for name, path in files.items()]
        body = {"id": f"someone/{model}", "modelId": f"someone/{model}", "sha": REVISION, "siblings": siblings}
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _send_file(self, model: str, name: str, with_body: bool) -> None:
        path = self.server.files(model).get(name)
        if path is None:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        if name in self.server.refused:
            self._send(403, b"", {})
            return
        content = path.read_bytes()
        tag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{tag}"', "X-Repo-Commit": REVISION, "Accept-Ranges": "bytes"}
        if with_body:
            if self.server.held in (None, name):
                self.server.gate.wait(60)
            self.server.fetched.append(name)
        self._send(200, content, headers, with_body)

    def _send(self, status: int, body: bytes, headers: dict[str, str], with_body: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body and self.command == "GET":
            self.wfile.write(body)
