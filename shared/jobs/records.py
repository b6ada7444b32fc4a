"""The values a job record is made of, and what can be read off them."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from shared.errors import InternalError, ServiceError
from shared.request.model import INIT_IMAGE, ImageRequest
from shared.stored_values import known_fields

EXPIRING = ".expiring"


class State(StrEnum):
    PENDING = "PENDING"
    PROGRESS = "PROGRESS"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"

    @property
    def final(self) -> bool:
        return self in (State.SUCCESS, State.FAILURE, State.REVOKED)


@dataclass(frozen=True)
class TaskRef:
    """Which task of which job: its number counts from 0."""

    job_id: str
    number: int

    def __str__(self) -> str:
        return f"{self.job_id}:{self.number}"

    @classmethod
    def parse(cls, text: str) -> Self:
        job_id, number = text.split(":")
        return cls(job_id, int(number))


@dataclass(frozen=True)
class StoredImage:
    """One image in the result store: its file name within the job's folder, and how it came about."""

    name: str
    seed: int


@dataclass(frozen=True)
class Task:
    """One task of a job. `token` belongs to the attempt that may write; `used` is what the worker really used."""

    state: str = "queued"
    attempt: int = 0
    token: str = ""
    images: tuple[StoredImage, ...] = ()
    used: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        return self.state == "done"

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | None) -> Self:
        """The task of that text; a task that nobody has begun has none. What a newer version says more is left out."""
        values = known_fields(cls, json.loads(text or "{}"))
        images = tuple(StoredImage(**known_fields(StoredImage, image)) for image in values.get("images", ()))
        return cls(**{**values, "images": images, "warnings": tuple(values.get("warnings", ()))})


@dataclass(frozen=True)
class Taken:
    """A task that the message `message` has held since `since` (seconds since the epoch).

    `token` is that of the attempt that works on it; "" before it begins. `stored` is all of this as Redis has it.
    """

    message: str
    task: TaskRef
    since: float
    token: str
    stored: str

    @classmethod
    def parse(cls, message: str, stored: str) -> Self:
        job_id, task, since, *token = stored.split(":")
        return cls(message, TaskRef(job_id, int(task)), float(since), token[0] if token else "", stored)

    def held_by(self, token: str) -> str:
        """What is to be stored once the attempt of that token works on it."""
        return f"{self.task}:{self.since}:{token}"


@dataclass(frozen=True)
class Loose:
    """An unfinished task for the workers of `variant` that no message stands for; `text`: as the record has it."""

    task: TaskRef
    variant: str
    text: str


@dataclass(frozen=True)
class Job:
    """A job as read at one moment. Times are seconds since the epoch; `position` counts from 1 while it waits."""

    id: str
    state: State
    request: ImageRequest
    tasks: tuple[Task, ...]
    created: float
    owner: str = ""
    started: float | None = None
    finished: float | None = None
    grid: str | None = None
    error: ServiceError | None = None
    position: int | None = None
    eta_s: float | None = None
    step: int = 0
    steps: int = 0
    download: int | None = None
    """While a worker fetches the model: how much of it is there, in percent."""

    @property
    def images(self) -> tuple[StoredImage, ...]:
        """All finished images in the order of the tasks."""
        return tuple(image for task in self.tasks for image in task.images)

    @property
    def prompts(self) -> tuple[str, ...]:
        """The prompt of each of the `images`."""
        return tuple(self.request.prompt_of_task(number) for number, task in enumerate(self.tasks) for _ in task.images)

    @property
    def folder(self) -> str:
        return result_folder(self.id, self.request)

    @property
    def progress(self) -> float:
        """How much of the work is done, from 0 to 1."""
        if self.state is State.SUCCESS:
            return 1.0
        return min(self.step / self.steps, 0.99) if self.steps else 0.0


@dataclass(frozen=True)
class Claim:
    """The right to work on one task, since `begun` and until `deadline` (seconds since the epoch).

    `finished` tells that the task was done before and only the closing is left. `waited_s`: for how many seconds the
    job had waited, where this is its first claim.
    """

    job_id: str
    task: int
    token: str
    attempt: int
    request: ImageRequest
    deadline: float
    begun: float
    finished: bool = False
    waited_s: float | None = None


@dataclass(frozen=True)
class Progress:
    """How far a task is: `step` of `steps` model evaluations, and perhaps a small JPEG of what it is becoming."""

    step: int
    steps: int
    preview: bytes | None = None


def new_job_id() -> str:
    """An id that nobody can guess: it is also the key to the images."""
    return secrets.token_hex(16)


def new_token() -> str:
    """What an attempt at a task shows with every write."""
    return secrets.token_hex(8)


def read_request(record: Mapping[str, str]) -> ImageRequest:
    """The request in a record. Raises InternalError where this version of the service cannot read it."""
    try:
        return ImageRequest.from_json(record["request"])
    except (AttributeError, KeyError, TypeError, ValueError) as wrong:
        raise InternalError(
            "This version of the service cannot read the record of the job; send the request again."
        ) from wrong


def record_bytes(request: ImageRequest) -> int:
    """About how much of Redis the record of a job will take once it is done, with all that belongs to it."""
    return 1500 + len(request.to_json().encode()) + 700 * request.tasks + 80 * request.image_count


def result_folder(job_id: str, request: ImageRequest) -> str:
    """Where a job's images lie in the result store: in `outdir` for good, or among those that expire."""
    if request.skip_save:
        return expiring_folder(job_id)
    return f"{request.outdir}/{job_id}" if request.outdir else job_id


def expiring_folder(job_id: str) -> str:
    """Where a job keeps the images that go when it expires."""
    return f"{EXPIRING}/{job_id}"


def input_folder(job_id: str) -> str:
    """Where a job keeps its input images, which go when it ends."""
    return f"{EXPIRING}/inputs/{job_id}"


def input_file(name: str) -> str:
    """What the file of an input image is called there; that of `init_img` as workers of older versions know it."""
    return "input.png" if name == INIT_IMAGE else f"input.{name}.png"
