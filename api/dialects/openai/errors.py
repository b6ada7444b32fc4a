"""Errors as OpenAI's clients read them, `{"error": {"message", "type", "param", "code"}}`, and which to retry."""

import json
from http import HTTPStatus

from flask import Response, g

from shared.errors import (
    JobCancelled,
    JobError,
    KeyReused,
    ServiceError,
    StorageFull,
    TooManyWrongKeys,
    Unauthorized,
)
from shared.jobs.records import Job

RETRY = "x-should-retry"
LONGEST_RETRY_AFTER_S = 60
"""Clients in JavaScript take no longer `Retry-After` seriously, and come back at once."""
_CODES: dict[type[ServiceError], str] = {Unauthorized: "invalid_api_key"}
_MOST_FIELDS = 20
# these statuses are tried again by clients that know nothing of our header, as are all from 500 on
_RETRIED = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS)


def openai_error(error: ServiceError, response: Response) -> None:
    """Give the answer to an error OpenAI's shape, and a status that no client retries where a retry cannot help."""
    body = {"error": error_object(error, response.status_code)}
    status = response.status_code
    if _is_final(error):
        if status in _RETRIED or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            response.status_code = HTTPStatus.UNPROCESSABLE_ENTITY
        response.headers[RETRY] = "false"
    elif isinstance(error, TooManyWrongKeys) or (status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _RETRIED):
        response.headers[RETRY] = "false"
    if isinstance(error, StorageFull):
        response.headers["Retry-After"] = str(LONGEST_RETRY_AFTER_S)
    after = response.headers.get("Retry-After", "")
    if after.isdigit() and int(after) > LONGEST_RETRY_AFTER_S:
        response.headers["Retry-After"] = str(LONGEST_RETRY_AFTER_S)
    response.data = json.dumps(body)
    name_job(response)


def end_of(job: Job) -> ServiceError:
    """Why a job that has ended has no images: the error that a client which waited for it is to be told."""
    g.job_has_ended = True
    return job.error or JobCancelled("The job was cancelled while you waited.")


def error_object(error: ServiceError, status: int) -> dict[str, str | None]:
    """What stands behind `error`: all four keys, always."""
    return {
        "message": _message(error),
        "type": _type(status),
        "param": next(iter(error.fields), None),
        "code": _CODES.get(type(error), error.code),
    }


def name_job(response: Response) -> None:
    """Say in the headers which job this is about; clients show `x-request-id`."""
    if job_id := g.get("job_id"):
        response.headers["X-Request-Id"] = job_id
        response.headers["X-Task-Id"] = job_id


def _is_final(error: ServiceError) -> bool:
    """Whether the same request again would help nobody: its job has ended, or its Idempotency-Key is another's."""
    if isinstance(error, JobError):
        return bool(g.get("job_has_ended")) and not isinstance(error, StorageFull)
    return isinstance(error, KeyReused)


def _type(status: int) -> str:
    if status == HTTPStatus.UNAUTHORIZED:
        return "authentication_error"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error"


def _message(error: ServiceError) -> str:
    """The sentence, and what is wrong with each field: this shape has room for the name of one alone."""
    fields = [f"{name}: {' '.join(texts)}" for name, texts in list(error.fields.items())[:_MOST_FIELDS]]
    return " ".join([error.message.replace("; see 'fields'", ""), *fields])
