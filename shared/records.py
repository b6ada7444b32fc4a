"""The values a job record is made of, and what can be read off them."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Self

from shared.errors import ServiceError
from shared.requests import ImageRequest

INPUT_NAME = "input.png"
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
class StoredImage:
    """One picture in the result store: its file name within the job's folder, and how it came about."""

    name: str
    seed: int
    prompt: str


@dataclass(frozen=True)
class Row:
    """One row of a job. `token` belongs to the attempt that may write; `used` is what the worker really used."""

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
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        values = json.loads(text)
        images = tuple(StoredImage(**image) for image in values["images"])
        return cls(**{**values, "images": images, "warnings": tuple(values["warnings"])})


@dataclass(frozen=True)
class Job:
    """A job as read at one moment. Times are seconds since the epoch; `position` counts from 1 while it waits."""

    id: str
    state: State
    request: ImageRequest
    rows: tuple[Row, ...]
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
        """All finished pictures in the order of the rows."""
        return tuple(image for row in self.rows for image in row.images)

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
    """The right to work on one row, since `begun` and until `deadline` (seconds since the epoch).

    `finished` tells that the row was done before and only the closing is left.
    """

    job_id: str
    row: int
    token: str
    attempt: int
    request: ImageRequest
    deadline: float
    begun: float
    finished: bool = False


def new_job_id() -> str:
    """An id that nobody can guess: it is also the key to the pictures."""
    return secrets.token_hex(16)


def result_folder(job_id: str, request: ImageRequest) -> str:
    """Where a job's pictures lie in the result store: in `outdir` for good, or among those that expire."""
    if request.skip_save:
        return expiring_folder(job_id)
    return f"{request.outdir}/{job_id}" if request.outdir else job_id


def expiring_folder(job_id: str) -> str:
    """Where a job keeps what goes when it expires: the input picture, and pictures not to be kept."""
    return f"{EXPIRING}/{job_id}"
