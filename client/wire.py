"""Requests and answers as values, and what an answer says; nothing here opens a connection."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from client.errors import BadAnswer, Refused

_FINAL = ("SUCCESS", "FAILURE", "REVOKED")


@dataclass(frozen=True)
class Send:
    """One request. `path` begins with `/`, or is a whole address where a link leads elsewhere."""

    path: str
    method: str = "GET"
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What came back: status, content type without its parameters, headers in lower case, and the body."""

    address: str
    status: int
    content_type: str
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def retry_after_s(self) -> float | None:
        """How long the service asks to wait, in seconds, if it does."""
        value = self.headers.get("retry-after", "")
        return float(value) if value.isdigit() else None

    def json(self) -> dict[str, Any]:
        """The JSON object of a success. Raises Refused for an error of the service, and BadAnswer for anything else."""
        self.require_success()
        return self._object()

    def require_success(self) -> None:
        """Raises Refused for an error of the service, and BadAnswer where something else answered with an error."""
        if not 200 <= self.status < 300:
            raise self.refusal()

    def refusal(self) -> Refused:
        """The error that the answer is. Raises BadAnswer where it is none of this service."""
        said = self._object()
        fields = said.get("fields")
        return Refused(
            str(said.get("error") or f"The service answered with status {self.status}."),
            status=self.status,
            code=str(said.get("code") or "request_error"),
            fields=fields if isinstance(fields, dict) else {},
            retry_after_s=self.retry_after_s,
        )

    def _object(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body) if self.content_type == "application/json" else None
        except ValueError:
            found = None
        if not isinstance(found, dict):
            what = self.content_type or "nothing"
            raise BadAnswer(
                f"{self.address} does not answer like this service (status {self.status}, {what} instead of JSON): "
                "look whether the address is right."
            )
        return found


@dataclass(frozen=True)
class JobStatus:
    """The state of a job as `/status` tells it; `raw` is all of that.

    `eta_s` is in seconds, `progress` from 0 to 1. `images` and `grid` are links, there once the job has ended.
    """

    id: str
    state: str
    sentence: str
    progress: float = 0.0
    step: int = 0
    steps: int = 0
    position: int | None = None
    eta_s: float | None = None
    error: str = ""
    code: str = ""
    seeds: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    grid: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    raw: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        return self.state in _FINAL

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """Raises Refused and BadAnswer."""
        told = answer.json()
        try:
            error = told.get("Error") or {}
            return cls(
                id=told["task_id"],
                state=told["State"],
                sentence=told["Status"],
                progress=told["Progress"],
                step=told["Step"],
                steps=told["Steps"],
                position=told["Position"],
                eta_s=told["ETA"],
                error=error.get("error", ""),
                code=error.get("code", ""),
                seeds=tuple(told.get("Seeds", ())),
                images=tuple(told.get("Images", ())),
                grid=told.get("Grid_image"),
                parameters=told.get("Parameters", {}),
                raw=told,
            )
        except (KeyError, AttributeError, TypeError):
            raise BadAnswer(f"{answer.address} does not answer like this service: its JSON is no job.") from None


@dataclass(frozen=True)
class Event:
    """Something that happened to a job.

    `kind` is `queued`, `progress`, `preview`, `done`, `failed` or `cancelled`. `position` is the place in the queue,
    from 1; `eta_s` seconds until the end, as far as known; `progress` is 0 to 1; `preview` the bytes of a small JPEG.
    """

    kind: str
    position: int | None = None
    eta_s: float | None = None
    step: int = 0
    steps: int = 0
    progress: float = 0.0
    sentence: str = ""
    preview: bytes | None = None

    @property
    def last(self) -> bool:
        return self.kind in ("done", "failed", "cancelled")
