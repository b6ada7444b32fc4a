"""The real service on free loopback ports, for end-to-end tests: Redis, `python -m worker`, gunicorn."""

import itertools
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import requests

from client.local.embedded_redis import answers
from client.local.processes import Child, start_child, stop_children
from shared.settings import DUMMY_API_KEY, Settings
from tests.redis_over_tcp import redis_command

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 120.0  # a loaded machine takes its time to import torch
STOP_S = 20.0
FINAL_STATES = ("SUCCESS", "FAILURE", "REVOKED")


def free_port() -> int:
    """A loopback port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """This process's environment without any of the service's own settings."""
    ours = {field.name.upper() for field in fields(Settings)}
    return {key: value for key, value in os.environ.items() if key not in ours}


@dataclass
class Api:
    """One gunicorn: its address, and the process."""

    url: str
    child: Child


class Service:
    """A constellation of processes on one Redis with its own folder and key prefix.

    Further keyword arguments are settings for every process, as environment variables: `RESULT_TTL_S="2"`.
    """

    def __init__(self, folder: Path, redis_server: Path, **environment: str) -> None:
        self.folder = folder
        self.output_dir = folder / "outputs"
        self.prompts_dir = folder / "prompts"
        self.models_dir = folder / "models"
        for path in (self.output_dir, self.prompts_dir, self.models_dir, folder / "redis"):
            path.mkdir(parents=True)
        self.redis_port = free_port()
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}/0"
        self.key_prefix = f"e2e-{secrets.token_hex(4)}:"
        self.apis: list[Api] = []
        self.workers: list[Child] = []
        self.redis: Child | None = None
        self._redis_server = redis_server
        self._numbers = itertools.count(1)
        self._session = requests.Session()
        self._environment = clean_environment() | {
            "REDIS_URL": self.redis_url,
            "KEY_PREFIX": self.key_prefix,
            "OUTPUT_DIR": str(self.output_dir),
            "PROMPTS_DIR": str(self.prompts_dir),
            "MODELS_DIR": str(self.models_dir),
            "DEFAULT_MODEL": "demo",
            "COMPILE_CACHE_DIR": str(folder / "cache"),
            "TORCH_THREADS": "1",
            "WARM_UP_S": "0",
            "RETRY_WINDOW_S": "0",
            "PYTHONUNBUFFERED": "1",
            **environment,
        }

    # ---- processes

    def start_redis(self) -> Child:
        """Start Redis, or start it again on the same port and the same data; returns once it answers."""
        command = redis_command(self._redis_server, self.redis_port, self.folder / "redis")
        self.redis = self._start("redis", command, {})
        _until("Redis answers", lambda: not answers(self.redis_url), self.redis)
        return self.redis

    def start_worker(self, module: str = "worker", **environment: str) -> Child:
        """Start one more worker; does not wait for it (`wait_ready` does)."""
        child = self._start(f"worker-{next(self._numbers)}", [sys.executable, "-m", module], environment)
        self.workers.append(child)
        return child

    def start_api(self, port: int | None = None, **environment: str) -> Api:
        """Start one more gunicorn, on a port of its own or on this one; returns once it answers."""
        port = port or free_port()
        command = [sys.executable, "-m", "gunicorn", "--config", "python:api.serving.gunicorn_conf", "api.wsgi:app"]
        child = self._start(
            f"api-{next(self._numbers)}", command, {"HOST": "127.0.0.1", "PORT": str(port), **environment}
        )
        api = Api(f"http://127.0.0.1:{port}", child)
        self.apis.append(api)
        _until("the API answers", lambda: self._answers_http(api.url), child)
        return api

    def stop(self, child: Child, grace_s: float = STOP_S) -> None:
        """End a process the gentle way (SIGTERM) and wait for it; fails when it has to be killed."""
        assert not stop_children([child], grace_s), f"{child.name} ignored SIGTERM for {grace_s} s"
        self._forget(child)

    def kill(self, child: Child) -> None:
        """End a process at once (SIGKILL), as a power cut would."""
        child.kill()
        self._forget(child)

    def pause(self, child: Child) -> None:
        child.signal(signal.SIGSTOP)

    def resume(self, child: Child) -> None:
        child.signal(signal.SIGCONT)

    def wait_ready(self, workers: int | None = None, timeout_s: float = START_S) -> None:
        """Wait until GET /ready says 200 and names that many workers (default: as many as run)."""
        wanted = len(self.workers) if workers is None else workers

        def ready() -> bool:
            answer = self.get("/ready")
            return answer.status_code == 200 and len(answer.json()["workers"]) >= wanted

        _until("the service is ready", ready, *self.workers, timeout_s=timeout_s)

    def refresh(self) -> Any:
        """Ask for a look at the folders of models until every worker that runs has looked; the last answer's JSON."""
        answer: Any = {}

        def looked() -> bool:
            nonlocal answer
            asked = self.post("/models/refresh", {})
            assert asked.status_code == 200, asked.text
            answer = asked.json()
            return len(answer["looked"]) >= len(self.workers)

        _until("every worker has looked at its folders", looked, *self.workers)
        return answer

    def close(self) -> None:
        """End every process at once, API first, Redis last; how they end when they are told to has tests of its own."""
        self._session.close()
        for child in [*(api.child for api in self.apis), *self.workers, *([self.redis] if self.redis else [])]:
            child.kill()

    def logs(self, lines: int = 40) -> Mapping[str, str]:
        """The end of each process's log, by name."""
        files = sorted((self.folder / "logs").glob("*.log"))
        return {file.stem: "\n".join(file.read_text(errors="replace").splitlines()[-lines:]) for file in files}

    # ---- talking to it

    @property
    def url(self) -> str:
        """The address of the first API."""
        return self.apis[0].url

    def get(self, path: str, *, api: int = 0, key: str | None = DUMMY_API_KEY, **kwargs: Any) -> requests.Response:
        """GET from the api-th API; `key=None` sends no key."""
        return self._request("GET", path, api, key, **kwargs)

    def post(
        self, path: str, json: Any = None, *, api: int = 0, key: str | None = DUMMY_API_KEY, **kwargs: Any
    ) -> requests.Response:
        """POST to the api-th API, the key in a header; `key=None` sends none."""
        return self._request("POST", path, api, key, json=json, **kwargs)

    def submit(self, path: str = "/generate", *, api: int = 0, **body: Any) -> str:
        """Queue a request that must be accepted; gives the job's id."""
        answer = self.post(path, body, api=api)
        assert answer.status_code == 202, f"{answer.status_code} {answer.text[:500]}"
        return str(answer.json()["task_id"])

    def wait(self, task_id: str, timeout: float = 120.0, *, api: int = 0) -> requests.Response:
        """The answer of GET /status once the job has ended: JSON, or the image itself."""
        end = time.monotonic() + timeout
        answer = None
        while time.monotonic() < end:
            answer = self.get(f"/status/{task_id}", api=api)
            is_json = answer.headers["Content-Type"].startswith("application/json")
            if not is_json or answer.status_code >= 400 or answer.json()["State"] in FINAL_STATES:
                return answer
            time.sleep(0.1)
        raise AssertionError(f"job {task_id} did not end in {timeout} s: {answer.text if answer is not None else ''}")

    # ---- inside

    def _request(self, method: str, path: str, api: int, key: str | None, **kwargs: Any) -> requests.Response:
        headers = {**({"X-API-Key": key} if key else {}), **kwargs.pop("headers", {})}
        return self._session.request(method, self.apis[api].url + path, headers=headers, timeout=150, **kwargs)

    def _start(self, name: str, command: list[str], environment: Mapping[str, str]) -> Child:
        log = self.folder / "logs" / f"{name}.log"
        everything = {**self._environment, **environment}
        orphaned = signal.SIGKILL if name.startswith("worker") else signal.SIGTERM
        return start_child(name, command, environment=everything, log=log, cwd=REPOSITORY, when_orphaned=orphaned)

    def _forget(self, child: Child) -> None:
        self.workers = [worker for worker in self.workers if worker is not child]
        self.apis = [api for api in self.apis if api.child is not child]
        self.redis = None if self.redis is child else self.redis

    def _answers_http(self, url: str) -> bool:
        try:
            return self._session.get(url + "/health", timeout=5).ok
        except requests.RequestException:
            return False


def _until(what: str, condition: Any, *children: Child, timeout_s: float = START_S) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        for child in children:
            assert child.alive, f"{child.name} ended while waiting until {what}: {child.last_words()}"
        assert time.monotonic() < end, f"waited {timeout_s} s until {what}"
        time.sleep(0.1)
