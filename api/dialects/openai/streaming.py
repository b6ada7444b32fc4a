"""A job as a stream of OpenAI's events: previews while it runs, and its images at the end."""

import logging
import time
from collections.abc import Iterator
from typing import Protocol

from api.dialects.openai.answering import Answering
from api.dialects.openai.answers import completed_events, described, sse
from api.dialects.openai.errors import error_object
from api.dialects.openai.operations import Operation
from api.http.errors import STATUS
from api.http.streams import KEEP_ALIVE
from api.services import Services
from api.submission.following import Told
from api.submission.submit import Taken
from shared.errors import InternalError, ServiceError, StillWorking, error_from_code

log = logging.getLogger(__name__)


class JobEvents(Protocol):
    """What the events of a job are read from, once, until it is closed; None: nothing to tell for a while."""

    def __iter__(self) -> Iterator[Told | None]: ...

    def close(self) -> None: ...


class ImageEvents:
    """The texts of a stream, made as they are sent. `close` when nobody reads them any more."""

    def __init__(
        self, services: Services, taken: Taken, events: JobEvents, asked: Answering, operation: Operation, address: str
    ) -> None:
        """`events` are the job's, with previews where any are asked for; links begin with `address`."""
        self._services = services
        self._taken = taken
        self._events = events
        self._asked = asked
        self._event = operation.event
        self._address = address
        self._progress = 0.0
        self._partial_images = 0

    def close(self) -> None:
        self._events.close()

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._all()
        except ServiceError as error:
            yield _error(error)
        except Exception:
            log.exception("the stream of a job broke off")
            yield _error(InternalError("Something went wrong here; the server's log says what."))

    def _all(self) -> Iterator[str]:
        for told in self._events:
            if told is None:
                yield KEEP_ALIVE
                continue
            match told.kind:
                case "progress":
                    self._progress = told.data["Progress"]
                case "preview":
                    yield from self._preview(told)
                case "done":
                    yield from self._images()
                    return
                case "failed":
                    yield _error(error_from_code(told.data["code"], told.data["error"]))
                    return
                case "cancelled":
                    yield _error(error_from_code("cancelled", "The job was cancelled while you waited."))
                    return
        yield _error(StillWorking(f"This server ends; the job goes on: ask for it at /status/{self._taken.job_id}."))

    def _preview(self, told: Told) -> Iterator[str]:
        """The preview, unless as many as were asked for have been sent, or it is too early for the next one."""
        most, index = self._asked.partial_images, self._partial_images
        if index >= most or self._progress < index / most:
            return
        self._partial_images += 1
        name = f"{self._event}.partial_image"
        # it is a JPEG whatever the image will be, and smaller than that
        data = {
            "type": name,
            "b64_json": told.data["Image"],
            "partial_image_index": index,
            "created_at": int(time.time()),
            "quality": "auto",
            **described(self._taken.request),
            "output_format": "jpeg",
        }
        yield sse(name, data).decode()

    def _images(self) -> Iterator[str]:
        job = self._services.jobs.get(self._taken.job_id)
        for piece in completed_events(job, self._asked, self._event, self._services.results, self._address):
            yield piece.decode()


def _error(error: ServiceError) -> str:
    return sse("error", {"error": error_object(error, STATUS[type(error)])}).decode()
