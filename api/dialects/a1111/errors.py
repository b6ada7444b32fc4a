"""Errors as A1111's clients read them: `{"error", "detail", "body", "errors"}`."""

import json
from http import HTTPStatus

from flask import Response, g

from shared.errors import InvalidRequest, JobCancelled, NotFound, OutOfMemory, ServiceError, Unauthorized

_MOST_FIELDS = 20
# what clients test for by name
_NAMES: dict[type[ServiceError], str] = {OutOfMemory: "OutOfMemoryError"}
RESTATED: dict[type[ServiceError], HTTPStatus] = {
    InvalidRequest: HTTPStatus.UNPROCESSABLE_ENTITY,
    # as a conflict it would be an invitation to try again
    JobCancelled: HTTPStatus.UNPROCESSABLE_ENTITY,
}
"""Where the status is another than in our own dialect."""


def a1111_error(error: ServiceError, response: Response) -> None:
    """Give the answer to an error A1111's shape, and the status that its clients expect."""
    fields = [f"{name}: {' '.join(texts)}" for name, texts in list(error.fields.items())[:_MOST_FIELDS]]
    # some sentences about what was not found are tested for by clients
    detail = error.message if isinstance(error, NotFound) else " ".join([_sentence(error), *fields])
    body = {
        "error": _NAMES.get(type(error), type(error).__name__),
        "detail": detail,
        "body": "",
        "errors": " ".join(fields) or _sentence(error),
    }
    response.data = json.dumps(body)
    response.status_code = RESTATED.get(type(error), response.status_code)
    if isinstance(error, Unauthorized):
        response.headers["WWW-Authenticate"] = 'Basic realm="the password is the key", charset="UTF-8"'
    name_job(response)


def name_job(response: Response) -> None:
    """Say in the headers which job this is about."""
    if job_id := g.get("job_id"):
        response.headers["X-Task-Id"] = job_id


def _sentence(error: ServiceError) -> str:
    return error.message.replace("; see 'fields'", "")
