"""Connections to a service that carry out flows: one that blocks, and one for asyncio."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import AsyncExitStack, ExitStack
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import httpx2

from client.errors import BadAnswer, CannotBeSent, ClientError, ServerAway
from client.events import Told
from client.flows import Flow, Listen, NextEvent, Patience, Pause, Step
from client.wire import Answer, Event, Send
from shared.version import VERSION

T = TypeVar("T")
_BREAKS = re.compile(r"\s|[\x00-\x1f\x7f?#]")  # nor a query, behind which no path can stand
_CONNECT_S, _ANSWER_S = 10.0, 150.0
_SILENCE_S = 60.0  # a stream of events tells at least that it lives more often


class Address:
    """Where the service is, and the key that it is shown. Raises BadAnswer for what is no address of HTTP."""

    def __init__(self, url: str, key: str | None) -> None:
        url = url if "://" in url else f"http://{url}"
        self._url = url.rstrip("/")
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            usable = bool(known and httpx2.URL(url).host and not _BREAKS.search(url))
        except (ValueError, httpx2.InvalidURL):
            usable = False
        if not usable:
            raise BadAnswer(f"'{url}' is no address of a service: write it like http://127.0.0.1:5001.")
        if key and not (key.isascii() and key.isprintable()):
            raise BadAnswer("The key has characters that no key can have; was it copied whole?")
        self._headers = {"User-Agent": f"personal-diffusion/{VERSION}"} | ({"X-API-Key": key} if key else {})

    def __str__(self) -> str:
        return self._url

    def request(self, client: httpx2.Client | httpx2.AsyncClient, step: Send | Listen) -> httpx2.Request:
        """The request of a step; the key goes to the service, and nowhere a link leads to. Raises CannotBeSent."""
        own = step.path.startswith("/")
        method, body = (step.method, step.body) if isinstance(step, Send) else ("GET", None)
        wait_s = _ANSWER_S if isinstance(step, Send) else _SILENCE_S
        try:
            return client.build_request(
                method, f"{self}{step.path}" if own else step.path, json=body,
                headers=dict(step.headers) | (self._headers if own else {}),
                timeout=httpx2.Timeout(wait_s, connect=_CONNECT_S),
            )  # fmt: skip
        except (UnicodeError, ValueError) as wrong:
            what = "text that is no Unicode" if isinstance(wrong, UnicodeError) else "a number that JSON does not have"
            raise CannotBeSent(f"A parameter has {what}; nothing was sent.") from None

    def problem(self, error: httpx2.HTTPError | httpx2.InvalidURL) -> ClientError:
        """What a failure of the connection means for a person."""
        match error:
            case httpx2.TimeoutException():
                return ServerAway(f"The service at {self} does not answer in time.")
            case httpx2.ConnectError():
                return ServerAway(f"No service answers at {self}: start it there, or name another address.")
            case httpx2.TransportError():
                return ServerAway(f"The connection to {self} broke off.")
        return BadAnswer(f"What {self} answers cannot be read.")


def _answer(response: httpx2.Response, body: bytes) -> Answer:
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Answer(str(response.url), response.status_code, content_type, dict(response.headers), body)


def _told(event: httpx2.ServerSentEvent) -> Told:
    return Told(event.id, event.event, event.data)


class Connection:
    """Carries out flows, one at a time; safe to use from many threads."""

    def __init__(self, address: Address, patience: Patience, transport: httpx2.BaseTransport | None = None) -> None:
        self.address = address
        self.patience = patience
        self._http = httpx2.Client(transport=transport)

    def close(self) -> None:
        self._http.close()

    def run(self, flow: Flow[T]) -> T:
        """Carry out a flow to its end; its events are for nobody."""
        events = self.drive(flow)
        while True:
            try:
                next(events)
            except StopIteration as end:
                result: T = end.value
                return result

    def drive(self, flow: Flow[T]) -> Generator[Event, None, T]:
        """Carry out a flow, yielding its events; gives its result."""
        with _Stream() as stream:
            answer: Any = None
            problem: ClientError | None = None
            while True:
                try:
                    step = flow.throw(problem) if problem else flow.send(answer)
                except StopIteration as end:
                    result: T = end.value
                    return result
                answer, problem = None, None
                if isinstance(step, Event):
                    yield step
                    continue
                try:
                    answer = self._do(step, stream)
                except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                    problem = self.address.problem(error)

    def _do(self, step: Step, stream: "_Stream") -> Answer | Told | None:
        match step:
            case Send():
                response = self._http.send(self.address.request(self._http, step))
                return _answer(response, response.content)
            case Pause():
                time.sleep(step.seconds)
            case Listen():
                return stream.open(self._http.send(self.address.request(self._http, step), stream=True))
            case NextEvent():
                return stream.next()
        return None


class _Stream:
    """The stream of events that a flow listens to, if it does."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._events: Iterator[httpx2.ServerSentEvent] = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()

    def open(self, response: httpx2.Response) -> Answer:
        self._open.close()
        self._open.callback(response.close)
        self._events = iter(httpx2.EventSource(response))
        return _answer(response, b"")

    def next(self) -> Told | None:
        event = next(self._events, None)
        return _told(event) if event else None


class AsyncConnection:
    """Carries out flows, one at a time, without blocking the event loop."""

    def __init__(
        self, address: Address, patience: Patience, transport: httpx2.AsyncBaseTransport | None = None
    ) -> None:
        self.address = address
        self.patience = patience
        self._http = httpx2.AsyncClient(transport=transport)

    async def close(self) -> None:
        await self._http.aclose()

    async def run(self, flow: Flow[T]) -> T:
        """Carry out a flow to its end; its events are for nobody."""
        end: list[T] = []
        async for _ in self.drive(flow, end):
            pass
        return end[0]

    async def drive(self, flow: Flow[T], end: list[T]) -> AsyncIterator[Event]:
        """Carry out a flow, yielding its events; its result is put into `end`, for a generator here can give none."""
        async with AsyncExitStack() as opened:
            answer: Any = None
            problem: ClientError | None = None
            events: AsyncIterator[httpx2.ServerSentEvent] | None = None
            while True:
                try:
                    step = flow.throw(problem) if problem else flow.send(answer)
                except StopIteration as stop:
                    end.append(stop.value)
                    return
                answer, problem = None, None
                try:
                    match step:
                        case Event():
                            yield step
                        case Send():
                            response = await self._http.send(self.address.request(self._http, step))
                            answer = _answer(response, response.content)
                        case Pause():
                            await asyncio.sleep(step.seconds)
                        case Listen():
                            await opened.aclose()
                            response = await self._http.send(self.address.request(self._http, step), stream=True)
                            opened.push_async_callback(response.aclose)
                            events = aiter(httpx2.EventSource(response))
                            answer = _answer(response, b"")
                        case NextEvent():
                            event = await anext(events, None) if events else None
                            answer = _told(event) if event else None
                except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                    problem = self.address.problem(error)
