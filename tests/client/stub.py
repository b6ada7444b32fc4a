"""A stand-in for the service, in this process: it accepts jobs, plays them through, and can be told to misbehave."""

import io
import json
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

KEY = "key-of-the-stub"


def png(colour: str = "red", side: int = 8, **parameters: Any) -> bytes:
    """A PNG, with its parameters inside as the service writes them."""
    out, chunks = io.BytesIO(), PngInfo()
    if parameters:
        chunks.add_text("personal_diffusion", json.dumps(parameters))
    Image.new("RGB", (side, side), colour).save(out, "PNG", pnginfo=chunks)
    return out.getvalue()


@dataclass
class StubJob:
    """A job of the stub: each question after its state takes the next of `states`; the last one stays."""

    id: str
    path: str
    body: dict[str, Any]
    states: deque[dict[str, Any]]
    cancelled: bool = False

    @property
    def images(self) -> int:
        return int(self.body.get("n_iter") or 1) * int(self.body.get("n_samples") or 1)


@dataclass
class Reply:
    """What to answer instead: `drop` breaks the connection off, before or after the request was taken."""

    status: int = 200
    body: bytes = b"{}"
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False
    takes: bool = False

    @classmethod
    def error(cls, status: int, code: str, said: str = "No.", **headers: str) -> "Reply":
        body = json.dumps({"error": said, "code": code, "fields": {}}).encode()
        return cls(status, body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def state(name: str, **more: Any) -> dict[str, Any]:
    """What `/status` says of a job."""
    return {
        "State": name, "Status": f"{name}.", "Progress": 0.0, "Step": 0, "Steps": 20, "Position": None, "ETA": None,
        "active_model": "demo", **more,
    }  # fmt: skip


WAITING = state("PENDING", Position=3, ETA=9.0)
WORKING = state("PROGRESS", Progress=0.35, Step=7, ETA=4.0)
DONE = state("SUCCESS", Progress=1.0, Step=20)
FAILED = state("FAILURE", Error={"error": "The device cannot hold it.", "code": "out_of_memory"})


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is nothing to tell; anything else is a fault of the stub."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as the base class types it


class Stub:
    """The service. `seen` holds (method, path, headers, body) of every request; `replies[path]` come first."""

    def __init__(self) -> None:
        self.jobs: dict[str, StubJob] = {}
        self.seen: list[tuple[str, str, Mapping[str, str], Any]] = []
        self.replies: dict[str, deque[Reply]] = defaultdict(deque)
        self.states = [WAITING, WORKING, DONE]
        self.events: Callable[[StubJob], list[tuple[str, dict[str, Any]]]] | None = None
        self.on_request: Callable[[str, str], None] = lambda _method, _path: None
        self.metadata: dict[str, Any] = {"kind": None, "parameters": {}, "warnings": []}
        self.link = ""  # where all images are, if elsewhere
        self._keys: dict[str, str] = {}
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                stub._serve(self, "GET")

            def do_POST(self) -> None:
                stub._serve(self, "POST")

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def posts(self) -> list[dict[str, Any]]:
        """The bodies of all submissions, in order."""
        return [
            body
            for method, path, _, body in self.seen
            if method == "POST" and path in ("/generate", "/img2img", "/upscale")
        ]

    def _serve(self, handler: BaseHTTPRequestHandler, method: str) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        data = handler.rfile.read(length)
        body = json.loads(data) if data else None
        self.seen.append((method, handler.path, dict(handler.headers), body))
        self.on_request(method, handler.path)
        path = handler.path.partition("?")[0]
        waiting = self.replies["/" + path.split("/")[1]]
        reply = waiting.popleft() if waiting else None
        if reply is None or reply.takes:
            answered = self._answer(handler, method, path, body)
            reply = reply or answered
        if reply.drop:
            handler.close_connection = True
            handler.connection.close()
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Type": reply.content_type, **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(reply.body)))
        handler.end_headers()
        handler.wfile.write(reply.body)

    def _answer(self, handler: BaseHTTPRequestHandler, method: str, path: str, body: Any) -> Reply:
        _, head, *rest = path.split("/")
        if method == "POST" and head in ("generate", "img2img", "upscale"):
            return self._accept(handler, path, body)
        if head == "metadata":
            return _json(self.metadata)
        if head == "models":
            return _json({"default": "demo", "models": [_model("demo", None), _model("sd15", "No file.")]})
        if head == "samplers":
            return _json({"default": "ddim", "samplers": [_SAMPLER]})
        if head == "recent":
            return _json({"Recent_finished_images": [f"/status/{job}" for job in self.jobs], "Images": []})
        job = self.jobs.get(rest[0]) if rest else None
        if job is None:
            return Reply.error(404, "not_found", "There is no such job.")
        if head == "images":
            return Reply(200, png("blue", prompt=job.body.get("prompt", ""), name=rest[1]), "image/png")
        if head == "cancel":
            job.cancelled = True
        if head == "events":
            if self.events is None:
                return Reply.error(404, "not_found", "No such page.")
            lines = [
                f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n"
                for number, (kind, data) in enumerate(self.events(job), 1)
            ]
            return Reply(200, "".join([": here\n\n", *lines]).encode(), "text/event-stream")
        return _json(self._status(job, asked=head == "status"))

    def _accept(self, handler: BaseHTTPRequestHandler, path: str, body: Any) -> Reply:
        if handler.headers.get("X-API-Key") != KEY:
            return Reply.error(401, "unauthorized", "The key is wrong.")
        key = handler.headers.get("Idempotency-Key") or str(len(self.seen))
        if key not in self._keys:
            self._keys[key] = f"job{len(self.jobs) + 1}"
            self.jobs[self._keys[key]] = StubJob(self._keys[key], path, body, deque(self.states))
        job_id = self._keys[key]
        told = {"task_id": job_id, "Location": f"/status/{job_id}", "active_model": "demo", "Position": 1}
        return Reply(202, json.dumps(told).encode())

    def _status(self, job: StubJob, asked: bool) -> dict[str, Any]:
        told = job.states[0]
        if job.cancelled:
            told = state("REVOKED")
        elif asked and len(job.states) > 1:
            told = job.states.popleft()
        answer = {"task_id": job.id, **told}
        if told["State"] == "SUCCESS":
            seed = job.body.get("seed") or 0
            answer["Seeds"] = [seed + number for number in range(job.images)]
            names = [f"{number:04d}-{seed + number}.png" for number in range(job.images)]
            answer["Images"] = [self.link or f"/images/{job.id}/{name}" for name in names]
            grid = job.body.get("skip_grid") is False
            answer["Grid_image"] = f"/images/{job.id}/grid.png" if grid else None
            answer["Parameters"] = {"prompt": job.body.get("prompt", ""), "warnings": []}
        return answer


_SAMPLER = {"name": "ddim", "label": "DDIM", "aliases": [], "uses_eta": True, "evaluations_per_step": 1}


def _model(name: str, why_not: str | None) -> dict[str, Any]:
    return {
        "name": name, "label": f"Model {name}", "aliases": [], "family": "sd1", "native_size": 128, "max_size": 512,
        "available": why_not is None, "warm": why_not is None, "why_not": why_not,
    }  # fmt: skip


def _json(told: Mapping[str, Any]) -> Reply:
    return Reply(200, json.dumps(told).encode())
