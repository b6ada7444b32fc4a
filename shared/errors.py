"""Everything that can go wrong, as one tree.

ServiceError
├── RequestError               the caller can mend it
│   ├── InvalidRequest         a field is missing, unknown, of the wrong type or out of bounds
│   ├── MalformedJson          the body is not a JSON object
│   ├── MalformedForm          the body is not a form in parts
│   ├── NotHttp                what came is no HTTP request, or its body breaks off
│   ├── NotJson                the body is not declared as JSON
│   ├── BodyTooLarge           the body is over the limit
│   ├── BodyTooSlow            the body did not come in time
│   ├── EncodedBody            the body is compressed
│   ├── Unauthorized           no key, or a wrong one
│   ├── HostNotAllowed         asked for under a name that is none of ours, while the public key is in force
│   ├── OriginNotAllowed       asked by a page of another origin, while the public key is in force
│   ├── NotFound               no such job, image or page
│   │   └── ModelNotFound      no model has that name (said by the dialect of OpenAI alone)
│   ├── Gone                   the result has expired
│   ├── NotFinished            the job has not ended, and only then there is what was asked for
│   ├── KeyReused              an Idempotency-Key came with another request than before
│   ├── ModelUnavailable       the model is known, but no worker here has its weights
│   ├── VariantUnavailable     workers live, and none serves the type that is asked for
│   ├── CallbackRefused        the operator allows no calls to that address
│   ├── TooCostly              the request asks for more than one job may take
│   └── TryLater               nothing is wrong with the request, but now is not the time; says when
│       ├── QueueFull          as many jobs wait as may
│       ├── TooManyJobs        the key has as many unfinished jobs as it may
│       ├── TooManyRequests    the key asks more often than it may
│       ├── TooManyWaiting     as many clients wait for their images as may
│       ├── TooManyConnections the address has as many open as it may, or none is left for an idle one
│       └── TooManyWrongKeys   wrong keys came from the address, more than may
├── ServiceUnavailable         Redis is away
│   ├── StoreUnavailable       the result store is away; it passes by itself
│   ├── StillWorking           the job that a client waits for has not ended in time; it goes on
│   ├── BodiesFull             as many bytes of bodies are held as may be
│   └── RedisFull              Redis answers, and has no memory left for what is to be kept
└── JobError                   a job was accepted and could not be finished
    ├── JobCancelled           somebody asked for it
    ├── DeadlineExceeded       the job ran past its time limit
    ├── OutOfMemory            the device cannot hold even this request alone
    ├── NotAnImage             the model gave NaN or infinities where colours should be
    ├── AttemptsExhausted      its workers died as often as is allowed
    ├── StorageFull            there is no room for the result, or for a model that is fetched
    ├── ResultMissing          a stored image cannot be read any more
    └── InternalError          anything unforeseen; the details are in the worker's log

Each class has a stable `code`, the word clients may test for. HTTP statuses are the API's matter
(`api/http/errors.py`).
"""

from collections.abc import Mapping, Sequence

FieldErrors = Mapping[str, Sequence[str]]


class ServiceError(Exception):
    """Base of every error of ours: a sentence for a person, a code for a program, and the fields it is about."""

    code = "service_error"

    def __init__(self, message: str, fields: FieldErrors | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.fields: dict[str, list[str]] = {name: list(texts) for name, texts in (fields or {}).items()}


class RequestError(ServiceError):
    code = "request_error"


class InvalidRequest(RequestError):
    code = "invalid_request"


class MalformedJson(RequestError):
    code = "malformed_json"


class MalformedForm(RequestError):
    code = "malformed_form"


class NotHttp(RequestError):
    code = "malformed_http"


class NotJson(RequestError):
    code = "not_json"


class BodyTooLarge(RequestError):
    code = "body_too_large"


class BodyTooSlow(RequestError):
    code = "body_too_slow"


class EncodedBody(RequestError):
    code = "encoded_body"


class Unauthorized(RequestError):
    code = "unauthorized"


class HostNotAllowed(RequestError):
    code = "host_not_allowed"


class OriginNotAllowed(RequestError):
    code = "origin_not_allowed"


class NotFound(RequestError):
    code = "not_found"


class ModelNotFound(NotFound):
    code = "model_not_found"


class Gone(RequestError):
    code = "gone"


class NotFinished(RequestError):
    code = "not_finished"


class KeyReused(RequestError):
    code = "idempotency_key_reused"


class ModelUnavailable(RequestError):
    code = "model_unavailable"


class VariantUnavailable(RequestError):
    code = "variant_unavailable"


class CallbackRefused(RequestError):
    code = "callback_refused"


class TooCostly(RequestError):
    code = "too_costly"


class TryLater(RequestError):
    code = "try_later"

    def __init__(self, message: str, fields: FieldErrors | None = None, *, retry_after_s: int = 1) -> None:
        super().__init__(message, fields)
        self.retry_after_s = retry_after_s


class QueueFull(TryLater):
    code = "queue_full"


class TooManyJobs(TryLater):
    code = "too_many_jobs"


class TooManyRequests(TryLater):
    code = "too_many_requests"


class TooManyWaiting(TryLater):
    code = "too_many_waiting"


class TooManyConnections(TryLater):
    code = "too_many_connections"


class TooManyWrongKeys(TryLater):
    code = "too_many_wrong_keys"


class ServiceUnavailable(ServiceError):
    code = "service_unavailable"


class StillWorking(ServiceUnavailable):
    code = "still_working"


class StoreUnavailable(ServiceUnavailable):
    code = "store_unavailable"


class BodiesFull(ServiceUnavailable):
    code = "bodies_full"


class RedisFull(ServiceUnavailable):
    code = "redis_full"


class JobError(ServiceError):
    code = "job_error"


class JobCancelled(JobError):
    code = "cancelled"


class DeadlineExceeded(JobError):
    code = "deadline_exceeded"


class OutOfMemory(JobError):
    code = "out_of_memory"


class NotAnImage(JobError):
    code = "not_an_image"


class AttemptsExhausted(JobError):
    code = "attempts_exhausted"


class StorageFull(JobError):
    code = "storage_full"


class ResultMissing(JobError):
    code = "result_missing"


class InternalError(JobError):
    code = "internal_error"


def all_errors(base: type[ServiceError] = ServiceError) -> list[type[ServiceError]]:
    """`base` and every class below it, parents first."""
    found = [base]
    for child in base.__subclasses__():
        found.extend(all_errors(child))
    return found


def error_from_code(code: str, message: str) -> ServiceError:
    """The error that a stored job record names by its code; an unknown code gives an `InternalError`."""
    for kind in all_errors():
        if kind.code == code:
            return kind(message)
    return InternalError(message)
