"""The API over a real Redis, a result store in a temporary folder, and a queue that only writes down."""

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from PIL import Image

from api.app import create_app
from api.http.rate_limit import RateLimit
from api.services import Services
from shared.catalogue.entries import load_catalogue
from shared.errors import ServiceUnavailable
from shared.jobs.backlog import Most
from shared.jobs.records import StoredImage
from shared.jobs.store import JobStore
from shared.jobs.submissions import Submissions
from shared.jobs.workers import WorkerRegister
from shared.settings import DUMMY_API_KEY, Settings
from shared.storage.results import ResultStore

REAL_BODIES = Path(__file__).parents[1] / "requests"
PILLOW_NAMES = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}


class FakeQueue:
    """Stands in for `shared.queue.TaskQueue`: notes for which variants it called, can break, and can play the
    worker."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.messages: list[str] = []
        self.error: Exception = ServiceUnavailable("The queue cannot be reached; try again in a moment.")
        self.breaks_after: int | None = None
        self.worker: Callable[[], None] = lambda: None

    def notify(self, variant: str, count: int = 1) -> None:
        for _ in range(count):
            if self.breaks_after is not None and len(self.messages) >= self.breaks_after:
                raise self.error
            self.messages.append(variant)
            self.worker()


def encoded_image(form: str, colour: str = "red", size: tuple[int, int] = (64, 64)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, PILLOW_NAMES[form])
    return out.getvalue()


class RedisServer:
    """A real Redis whose clients can be cut off and let in again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._clients: list[Any] = []

    def client(self) -> Any:
        client = redis.Redis.from_url(self.url, decode_responses=True, retry=None)
        self._clients.append(client)
        return client

    def close(self) -> None:
        for client in self._clients:
            client.close()

    def cut_off(self) -> None:
        """Every client finds nobody at home, now and when it tries again."""
        self._move(1)  # nobody listens on port 1

    def let_in(self) -> None:
        self._move(redis.connection.parse_url(self.url)["port"])

    def _move(self, port: int) -> None:
        for client in self._clients:
            client.connection_pool.connection_kwargs["port"] = port
            client.connection_pool.disconnect()
            client.connection_pool.reset()


class World:
    """One Redis and one result store, over which any number of API processes can be built."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.server = RedisServer(redis_url)
        self.redis = self.connect()
        self.queue = FakeQueue()
        (folder / "prompts").mkdir()
        self.services = self.build()
        self.app = create_app(self.services)
        self.client = self.app.test_client()

    def clear(self) -> None:
        """Make everything as it was in the beginning."""
        self.server.let_in()
        self.redis.flushdb()
        self.queue.clear()
        self.client = self.app.test_client()
        for folder in ("outputs", "prompts"):
            shutil.rmtree(self.folder / folder, ignore_errors=True)
        (self.folder / "prompts").mkdir()

    def connect(self) -> Any:
        return self.server.client()

    def build(self, **settings: Any) -> Services:
        """The services of one more API process."""
        chosen = {
            "retry_window_s": 0.0,
            "sync_timeout_s": 0.0,
            "max_images_per_job": 8,
            "max_body_bytes": 100_000,
            "wrong_keys_per_minute": 0,  # many tests send wrong ones to one server
        } | settings
        chosen.setdefault("dialect_timeout_s", chosen["sync_timeout_s"])
        read = Settings(
            redis_url=self.server.url,
            output_dir=str(self.folder / "outputs"),
            prompts_dir=self.folder / "prompts",
            **chosen,
        )
        client = self.connect()
        return Services(
            settings=read,
            catalogue=load_catalogue(read.default_model),
            jobs=JobStore(
                client,
                read.key_prefix,
                result_ttl_s=read.result_ttl_s,
                most=Most(read.max_waiting_jobs, read.max_jobs_per_key, read.max_key_bytes),
            ),
            results=ResultStore(read.output_dir),
            queue=self.queue,  # type: ignore[arg-type]  # the fake
            workers=WorkerRegister(client, read.key_prefix, ttl_s=60),
            submissions=Submissions(client, read.key_prefix),
            rate=RateLimit(read),
        )

    def another_client(self, **settings: Any) -> Any:
        """A client of another API process on the same Redis and store."""
        return create_app(self.build(**settings)).test_client()

    def post(self, path: str = "/generate", client: Any = None, **fields: Any) -> Any:
        """Post a body given over a valid minimum; a field that is `...` is left out."""
        body: dict[str, Any] = {"prompt": "a cat", "api_key": DUMMY_API_KEY} | fields
        return (client or self.client).post(
            path, json={name: value for name, value in body.items() if value is not ...}
        )

    def submit(self, path: str = "/generate", **fields: Any) -> str:
        """Post a body that must be accepted; gives the job's id."""
        answer = self.post(path, **fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json["task_id"])

    def work(self, job_id: str, colours: tuple[str, ...] = ("red", "lime", "blue")) -> str:
        """Do what workers do: claim, store, finish and close; gives the job's id."""
        jobs, results = self.services.jobs, self.services.results
        job = jobs.get(job_id)
        request = job.request
        for number in range(request.tasks):
            claim = jobs.claims.claim(job_id, number)
            assert claim is not None
            stored = []
            for sample in range(request.n_samples):
                seed = request.seed_of(number, sample)
                image = StoredImage(f"{number * request.n_samples + sample:04d}-{seed}.{request.format}", seed)
                colour = colours[(number * request.n_samples + sample) % len(colours)]
                results.write(job.folder, image.name, encoded_image(request.format, colour))
                stored.append(image)
            jobs.claims.finish(
                claim, stored, {"device": "cpu", "model_hash": "0123456789"}, ["device: this worker has a CPU only"]
            )
        grid = None if request.skip_grid else f"grid.{request.format}"
        if grid:
            results.write(job.folder, grid, encoded_image(request.format, "yellow", (128, 64)))
        jobs.close(job_id, grid)
        return job_id

    def play_worker(self, act: Callable[[str], object]) -> None:
        """From now on every message takes the task that is due, and does `act` with the id of its job."""

        def work() -> None:
            task = self.services.jobs.claims.take(f"message {len(self.queue.messages)}", self.queue.messages[-1])
            assert task is not None
            act(task.job_id)

        self.queue.worker = work

    def tasks_waiting(self, variant: str = "any") -> int:
        """How many tasks any worker can take."""
        return self.services.jobs.backlog.tasks_waiting(variant)

    def job_keys(self) -> list[str]:
        """What Redis holds about any job."""
        return sorted(self.redis.scan_iter("*:job:*"))

    def stored_files(self) -> list[str]:
        root = self.folder / "outputs"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.fixture(scope="session")
def _one_world(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("world"), redis_url)
    yield world
    world.server.close()


@pytest.fixture
def world(_one_world: World) -> World:
    """An empty world; the application in it is built once, because that takes most of a test's time."""
    _one_world.clear()
    return _one_world


@pytest.fixture
def client(world: World) -> Any:
    return world.client


@pytest.fixture
def image_text() -> str:
    return base64.b64encode(encoded_image("png")).decode()


@pytest.fixture
def real_body() -> Callable[[str], dict[str, Any]]:
    """A body as a real client sends it: `generate` or `img2img`."""
    return lambda name: json.loads((REAL_BODIES / f"{name}.json").read_text())


@pytest.fixture
def assert_error() -> Callable[..., SimpleNamespace]:
    """Check that an answer is an error in the one shape; gives its parts."""

    def check(answer: Any, status: int, code: str | None = None) -> SimpleNamespace:
        text = answer.get_data(as_text=True)
        assert answer.status_code == status, text
        assert answer.mimetype == "application/json"
        body = answer.get_json()
        assert set(body) == {"error", "code", "fields"}
        assert isinstance(body["error"], str)
        assert body["error"]
        assert "Traceback" not in text
        for name, texts in body["fields"].items():
            assert isinstance(name, str)
            assert texts
            assert all(isinstance(text, str) for text in texts)
        if code:
            assert body["code"] == code
        return SimpleNamespace(**body)

    return check
