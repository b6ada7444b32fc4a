"""Errors as OpenAI's clients read them, `{"error": {"message", "type", "param", "code"}}`, and which to retry."""

import json
from http import HTTPStatus

from flask import Request, Response, g

from api.submission.idempotency import HEADER, MARK
from shared.errors import (
    JobCancelled,
    JobError,
    KeyReused,
    ServiceError,
    StillWorking,
    StorageFull,
    TooManyWrongKeys,
    Unauthorized,
)
from shared.jobs.records import Job
from shared.jobs.status import status_link

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
        response.headers.pop("Retry-After", None)
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


def still_working(job_id: str, http_request: Request, *, stopping: bool) -> StillWorking:
    """What a client is told whose job has not ended in time: to try again, if its next try is known for one.

    Where it is not, it would be another job, so that such a client is asked not to; unless this server is `stopping`.
    """
    known = MARK in http_request.headers or HEADER in http_request.headers
    g.a_retry_is_another_job = not (known or stopping)
    return StillWorking(
        f"The job has not ended yet and goes on. Ask for it at {status_link(job_id)}; or send the same request again, "
        f"marked as a retry ({MARK}) or with the same {HEADER}."
    )


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
    """Whether the same request again would help nobody: its job has ended, its Idempotency-Key is another's, or it
    would be a second job beside one that still runs."""
    if isinstance(error, StillWorking):
        return bool(g.get("a_retry_is_another_job"))
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
