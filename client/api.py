"""The Python client: `Client(url, key).generate("a red circle", steps=20).images`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from PIL import Image

from client import flows
from client.bodies import ImageSource, body_of, image_text, opened
from client.connections import Address, Connection
from client.wire import Event, JobStatus
from shared.files import write_file
from shared.settings import DUMMY_API_KEY

LOCAL = "http://127.0.0.1:5001"
RETRY_S = 30.0
FIRST_S = 2.0


class Client:
    """A service over HTTP. Safe to use from many threads; every method may raise a `client.errors.ClientError`.

    A service that does not answer, or says "not now", is asked again for up to `retry_s` seconds. A submission carries
    an idempotency key, so that asking again never makes a second job.
    """

    def __init__(
        self,
        url: str = LOCAL,
        key: str | None = DUMMY_API_KEY,
        *,
        retry_s: float = RETRY_S,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """`key` None shows none. `transport` replaces the network, in tests."""
        patience = flows.Patience(retry_s, FIRST_S)
        self._connection = Connection(Address(url, key), patience, transport)
        self._patience = patience

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    @property
    def url(self) -> str:
        return str(self._connection.address)

    def generate(self, prompt: str, *, idempotency_key: str | None = None, **parameters: Any) -> "Job":
        """Queue text to image. `parameters` are those of docs/parameters.md, or by their longer names (`steps`)."""
        return self.submit("/generate", body_of("generate", {"prompt": prompt} | parameters), idempotency_key)

    def img2img(
        self, image: ImageSource, prompt: str, *, idempotency_key: str | None = None, **parameters: Any
    ) -> "Job":
        """Queue image to image, from a file, its bytes, or a Pillow image."""
        body = body_of("img2img", {"prompt": prompt, "init_img": image_text(image)} | parameters)
        return self.submit("/img2img", body, idempotency_key)

    def upscale(self, image: ImageSource, *, idempotency_key: str | None = None, **parameters: Any) -> "Job":
        """Queue an image to be made larger; `parameters` are `factor`, `upscaler`, and how it is delivered."""
        return self.submit("/upscale", {"image": image_text(image)} | parameters, idempotency_key)

    def submit(self, path: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> "Job":
        """Queue a body as it is, at `/generate` or `/img2img`."""
        # the answer of a client that waits would be the image; this one asks for it
        body = dict(body) | {"synchronous_request": False, "return_base64": False}
        return self.job(self._connection.run(flows.submit(path, body, idempotency_key, self._patience)))

    def job(self, job_id: str) -> "Job":
        """A job that is there already, by its id."""
        return Job(self._connection, job_id)

    def models(self) -> dict[str, Any]:
        """What `GET /models` answers: the default model, and all of them."""
        return self._connection.run(flows.ask("/models", self._patience))

    def samplers(self) -> dict[str, Any]:
        """What `GET /samplers` answers."""
        return self._connection.run(flows.ask("/samplers", self._patience))

    def metadata(self, image: ImageSource) -> dict[str, Any]:
        """What `POST /metadata` answers: what an image was made with, here or by another program."""
        return self._connection.run(flows.post("/metadata", {"image": image_text(image)}, self._patience))

    def recent(self) -> list["Job"]:
        """The last ten successful jobs of the key, newest first."""
        told = self._connection.run(flows.ask("/recent", self._patience))
        return [self.job(str(link).rpartition("/")[2]) for link in told.get("Recent_finished_images", [])]


class Job:
    """One job. What was once known of a job that has ended is not asked for again."""

    def __init__(self, connection: Connection, job_id: str) -> None:
        self.id = job_id
        self._connection = connection
        self._patience = connection.patience
        self._known: JobStatus | None = None
        self._files: list[tuple[str, bytes]] | None = None

    def __repr__(self) -> str:
        return f"Job({self.id!r})"

    def status(self) -> JobStatus:
        """The state now."""
        if self._known is None or not self._known.ended:
            self._known = self._connection.run(flows.status(self.id, self._patience))
        return self._known

    def events(self, previews: bool = False) -> Iterator[Event]:
        """What happens, until the job has ended: the last event is `done`, `failed` or `cancelled`."""
        self._known = yield from self._connection.drive(flows.follow(self.id, self._patience, previews))

    def wait(self, on_progress: Callable[[Event], object] = lambda _: None, previews: bool = False) -> Self:
        """Wait until the job is done, calling `on_progress(event)` meanwhile. Raises JobFailed and JobCancelled."""
        if self._known is None or not self._known.ended:
            for event in self.events(previews):
                on_progress(event)
        flows.require_images(self.status())
        return self

    def cancel(self) -> JobStatus:
        """Stop it, if it has not ended; gives its state then."""
        self._known = self._connection.run(flows.cancel(self.id, self._patience))
        return self._known

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each image; waits for the end."""
        return self.wait().status().seeds

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Everything that was used, with `warnings`; waits for the end."""
        return self.wait().status().parameters

    @property
    def files(self) -> list[tuple[str, bytes]]:
        """(name, bytes) of each image, as the service stores it: with its parameters inside. Waits for the end."""
        if self._files is None:
            known = self.wait().status()
            self._files = self._connection.run(flows.images(known, self._patience))
        return self._files

    @property
    def images(self) -> list[Image.Image]:
        """The images, decoded; waits for the end."""
        return [opened(name, data) for name, data in self.files]

    @property
    def grid(self) -> Image.Image | None:
        """The grid of all images, if one was asked for (`skip_grid=False`); waits for the end."""
        found = self.grid_file
        return found and opened(*found)

    @property
    def grid_file(self) -> tuple[str, bytes] | None:
        """(name, bytes) of the grid, if one was asked for; waits for the end."""
        known = self.wait().status()
        return next(iter(self._connection.run(flows.images(known, self._patience, grid=True))), None)

    def save(self, folder: str | Path = ".") -> list[Path]:
        """Write the images into a folder, under their names; gives the files. Raises OSError."""
        written = []
        for name, data in self.files:
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(path, data)
            written.append(path)
        return written
