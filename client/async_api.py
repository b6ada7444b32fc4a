"""The asynchronous twin of `client/api.py`: the same names, awaited."""

from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Any, Self

import httpx2
from PIL import Image

from client import flows
from client.api import FIRST_S, LOCAL, RETRY_S
from client.bodies import ImageSource, body_of, image_text, opened
from client.connections import Address, AsyncConnection
from client.wire import Event, JobStatus
from shared.settings import DUMMY_API_KEY


class AsyncClient:
    """A service over HTTP, for asyncio; otherwise as `Client`."""

    def __init__(
        self,
        url: str = LOCAL,
        key: str | None = DUMMY_API_KEY,
        *,
        retry_s: float = RETRY_S,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """`key` None shows none. `transport` replaces the network, in tests."""
        self._patience = flows.Patience(retry_s, FIRST_S)
        self._connection = AsyncConnection(Address(url, key), self._patience, transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    async def generate(self, prompt: str, *, idempotency_key: str | None = None, **parameters: Any) -> "AsyncJob":
        """Queue text to image; see `Client.generate`."""
        return await self.submit("/generate", body_of("generate", {"prompt": prompt} | parameters), idempotency_key)

    async def img2img(
        self, image: ImageSource, prompt: str, *, idempotency_key: str | None = None, **parameters: Any
    ) -> "AsyncJob":
        """Queue image to image; see `Client.img2img`."""
        body = body_of("img2img", {"prompt": prompt, "init_img": image_text(image)} | parameters)
        return await self.submit("/img2img", body, idempotency_key)

    async def upscale(self, image: ImageSource, *, idempotency_key: str | None = None, **parameters: Any) -> "AsyncJob":
        """Queue an image to be made larger; see `Client.upscale`."""
        return await self.submit("/upscale", {"image": image_text(image)} | parameters, idempotency_key)

    async def submit(self, path: str, body: Mapping[str, Any], idempotency_key: str | None = None) -> "AsyncJob":
        """Queue a body as it is, at `/generate` or `/img2img`."""
        body = dict(body) | {"synchronous_request": False, "return_base64": False}
        return self.job(await self._connection.run(flows.submit(path, body, idempotency_key, self._patience)))

    def job(self, job_id: str) -> "AsyncJob":
        """A job that is there already, by its id."""
        return AsyncJob(self._connection, job_id)

    async def models(self) -> dict[str, Any]:
        """What `GET /models` answers."""
        return await self._connection.run(flows.ask("/models", self._patience))

    async def samplers(self) -> dict[str, Any]:
        """What `GET /samplers` answers."""
        return await self._connection.run(flows.ask("/samplers", self._patience))

    async def metadata(self, image: ImageSource) -> dict[str, Any]:
        """What an image was made with; see `Client.metadata`."""
        return await self._connection.run(flows.post("/metadata", {"image": image_text(image)}, self._patience))


class AsyncJob:
    """One job; see `Job`. What waits there is a coroutine here."""

    def __init__(self, connection: AsyncConnection, job_id: str) -> None:
        self.id = job_id
        self._connection = connection
        self._patience = connection.patience
        self._known: JobStatus | None = None

    def __repr__(self) -> str:
        return f"AsyncJob({self.id!r})"

    async def status(self) -> JobStatus:
        """The state now."""
        if self._known is None or not self._known.ended:
            self._known = await self._connection.run(flows.status(self.id, self._patience))
        return self._known

    async def events(self, previews: bool = False) -> AsyncIterator[Event]:
        """What happens, until the job has ended."""
        end: list[JobStatus] = []
        async for event in self._connection.drive(flows.follow(self.id, self._patience, previews), end):
            yield event
        self._known = end[0]

    async def wait(self, on_progress: Callable[[Event], object] = lambda _: None, previews: bool = False) -> Self:
        """Wait until the job is done, calling `on_progress(event)` meanwhile. Raises JobFailed and JobCancelled."""
        if self._known is None or not self._known.ended:
            async for event in self.events(previews):
                on_progress(event)
        flows.require_images(await self.status())
        return self

    async def cancel(self) -> JobStatus:
        """Stop it, if it has not ended; gives its state then."""
        self._known = await self._connection.run(flows.cancel(self.id, self._patience))
        return self._known

    async def files(self) -> list[tuple[str, bytes]]:
        """(name, bytes) of each image, as the service stores it; waits for the end."""
        await self.wait()
        return await self._connection.run(flows.images(await self.status(), self._patience))

    async def images(self) -> list[Image.Image]:
        """The images, decoded; waits for the end."""
        return [opened(name, data) for name, data in await self.files()]
