"""What the API document says of many endpoints alike: keys, errors, ids of jobs."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from apispec import APISpec, BasePlugin
from marshmallow import Schema

from api.http.errors import STATUS
from api.responses.schemas import ErrorAnswer
from shared import errors
from shared.errors import ServiceError
from shared.settings import DUMMY_API_KEY, Settings

KEY: list[dict[str, list[str]]] = [{"key": []}, {"bearer": []}, {"basic": []}, {"azure": []}]
"""The endpoint needs a key, in any of these ways."""
KEY_IF_PRIVATE: list[dict[str, list[str]]] = [{}, *KEY]
"""The endpoint needs the job's own key with PRIVATE_RESULTS=true, else none."""
NO_KEY: list[dict[str, list[str]]] = []
"""The endpoint is open to all."""

EXAMPLE_JOB_ID = "0123456789abcdef0123456789abcdef"
"""Stands for a job's id in examples; `GET /docs` and the tests put a real one in its place."""
EXAMPLE_IMAGE_NAME = "0000-7.png"
"""Stands for the name of an image of that job: its number and its seed."""
EXAMPLE_IMAGE = (
    "iVBORw0KGgoAAAANSUhEUgAAAEAAAABAAQMAAACQp+OdAAAABlBMVEX////MIiK/pbueAAAAeklEQVR42sXQsQ3CUAyE4e8Z"
    "CipgBDYhbMQIb7SMkBEYIQUFBYopokiJ9BqqXHXy/bZOZm9dRgSe53lQMitB0M1I5khw5URw4zhvYSGDQqKsowJ1Ay8moGtG"
    "f5kJ+kbU6qOSBD3T9uCLL8HIh+DNQDDRc4D7Y/W6ffUD0qUYfORLWBoAAAAASUVORK5CYII="
)
"""A red disc on white, a PNG of 64x64 pixels in base64."""
JOB_ID: dict[str, Any] = {
    "in": "path", "name": "job_id", "example": EXAMPLE_JOB_ID,
    "description": "The job's id: `task_id` of the answer that accepted it.",
}  # fmt: skip
IMAGE_NAME: dict[str, Any] = {
    "in": "path", "name": "name", "example": EXAMPLE_IMAGE_NAME,
    "description": "The image's name: the last part of its link, its number and its seed.",
}  # fmt: skip
IDEMPOTENCY_KEY: dict[str, Any] = {
    "in": "header", "name": "Idempotency-Key", "example": "order-4711",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "description": "The same request with the same key is the same job, also after its answer was lost.",
}  # fmt: skip

READING: tuple[type[ServiceError], ...] = (
    errors.Unauthorized, errors.NotFound, errors.Gone, errors.TooManyWrongKeys, errors.ServiceUnavailable,
)  # fmt: skip
"""What reading about a job can end in."""
WITH_KEY: tuple[type[ServiceError], ...] = (
    errors.Unauthorized, errors.TooManyWrongKeys, errors.ServiceUnavailable,
)  # fmt: skip
"""What an endpoint can end in that asks for a key, and for nothing else."""
SUBMITTING: tuple[type[ServiceError], ...] = (
    errors.InvalidRequest, errors.MalformedJson, errors.Unauthorized, errors.BodyTooSlow, errors.KeyReused, errors.Gone,
    errors.BodyTooLarge, errors.NotJson, errors.EncodedBody, errors.ModelUnavailable, errors.VariantUnavailable,
    errors.CallbackRefused, errors.TooCostly, errors.QueueFull, errors.TooManyJobs, errors.TooManyRequests,
    errors.TooManyWrongKeys, errors.ServiceUnavailable, errors.StoreUnavailable, errors.BodiesFull, errors.RedisFull,
)  # fmt: skip
"""What the submission of a job can end in, in every dialect."""
WAITING: tuple[type[ServiceError], ...] = (
    errors.JobCancelled, errors.DeadlineExceeded, errors.OutOfMemory, errors.NotAnImage, errors.AttemptsExhausted,
    errors.InternalError, errors.StorageFull, errors.ResultMissing,
)  # fmt: skip
"""What a job can end in while its client waits."""

_ABOUT = (
    "A request becomes a job, a job becomes images. At `/docs` of the server every example can be sent: begin with "
    "`POST /generate`; the examples about a job then use the job that was submitted last."
)
_KEY_IS = "A key of the operator's `API_KEYS`."
_DUMMY_IS = f"While the operator has set no `API_KEYS`: `{DUMMY_API_KEY}`."


def refusals(
    *kinds: type[ServiceError],
    schema: type[Schema] = ErrorAnswer,
    restated: Mapping[type[ServiceError], HTTPStatus] = MappingProxyType({}),
) -> dict[str, Any]:
    """The `responses` of errors: one for each HTTP status, which names its codes, and one for any other error.

    All have the shape of `schema`. `restated` has the statuses that a dialect gives instead of ours.
    """
    codes: dict[HTTPStatus, list[str]] = {}
    for kind in kinds:
        codes.setdefault(restated.get(kind, STATUS[kind]), []).append(kind.code)
    told = {
        str(int(status)): json_answer(
            f"{status.phrase}: {', '.join(f'`{code}`' for code in sorted(set(found)))}", schema
        )
        for status, found in sorted(codes.items())
    }
    return told | {"default": json_answer("Any other error", schema)}


def json_answer(description: str, schema: type[Schema]) -> dict[str, Any]:
    """A response of JSON in the shape of `schema`."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def describe_keys(spec: APISpec, settings: Settings) -> None:
    """Say in which ways a key can be sent, and which is accepted where the operator has set none."""
    known = _KEY_IS if settings.api_keys else _DUMMY_IS
    if settings.open_access:
        known = f"This server takes requests without a key too. {known}"
    schemes: Mapping[str, dict[str, Any]] = {
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": known},
        "bearer": {"type": "http", "scheme": "bearer", "description": known},
        "basic": {"type": "http", "scheme": "basic", "description": f"The password is the key. {known}"},
        "azure": {"type": "apiKey", "in": "header", "name": "api-key", "description": known},
    }
    for name, scheme in schemes.items():
        default = {} if settings.api_keys else {"x-default-key": DUMMY_API_KEY}
        spec.components.security_scheme(name, scheme | default)


class OperationIds(BasePlugin):
    """Names each operation after its view: `jobs.status` is `jobs_status`."""

    def operation_helper(
        self, path: str | None = None, operations: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        name = kwargs["rule"].endpoint.replace(".", "_")
        methods: Iterable[tuple[str, dict[str, Any]]] = (operations or {}).items()
        for method, operation in methods:
            operation.setdefault("operationId", name if len(operations or {}) == 1 else f"{name}_{method}")


def spec_options() -> dict[str, Any]:
    """What the factory tells flask-smorest about the document."""
    return {"extra_plugins": [OperationIds()], "info": {"description": _ABOUT}}
