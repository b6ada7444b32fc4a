"""Errors to HTTP, in one place and in one shape: `{"error", "code", "fields"}`; a dialect may restate its own."""

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus

import redis
from flask import Flask, Response, current_app, jsonify, request
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException, RequestedRangeNotSatisfiable

from api.http.access_log import request_id
from shared import errors
from shared.errors import ServiceError
from shared.redis.errors import as_service_error

log = logging.getLogger(__name__)

Restate = Callable[[ServiceError, Response], None]
"""Gives the answer to an error, which is complete, the shape that a dialect's clients read."""

STATUS: dict[type[ServiceError], HTTPStatus] = {
    errors.ServiceError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.RequestError: HTTPStatus.BAD_REQUEST,
    errors.InvalidRequest: HTTPStatus.BAD_REQUEST,
    errors.MalformedJson: HTTPStatus.BAD_REQUEST,
    errors.MalformedForm: HTTPStatus.BAD_REQUEST,
    errors.NotHttp: HTTPStatus.BAD_REQUEST,
    errors.NotJson: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyTooSlow: HTTPStatus.REQUEST_TIMEOUT,
    errors.EncodedBody: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.HostNotAllowed: HTTPStatus.MISDIRECTED_REQUEST,
    errors.OriginNotAllowed: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.ModelNotFound: HTTPStatus.NOT_FOUND,
    errors.Gone: HTTPStatus.GONE,
    errors.NotFinished: HTTPStatus.CONFLICT,
    errors.KeyReused: HTTPStatus.CONFLICT,
    errors.ModelUnavailable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.VariantUnavailable: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.CallbackRefused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooCostly: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TryLater: HTTPStatus.TOO_MANY_REQUESTS,
    errors.QueueFull: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyJobs: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyWaiting: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyConnections: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TooManyWrongKeys: HTTPStatus.TOO_MANY_REQUESTS,
    errors.ServiceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StillWorking: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.BodiesFull: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.RedisFull: HTTPStatus.SERVICE_UNAVAILABLE,
    # what a job died of, told to a client that waited for it
    errors.JobError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.JobCancelled: HTTPStatus.CONFLICT,
    errors.DeadlineExceeded: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.OutOfMemory: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.NotAnImage: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.AttemptsExhausted: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.StorageFull: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.ResultMissing: HTTPStatus.GONE,
    errors.InternalError: HTTPStatus.INTERNAL_SERVER_ERROR,
}

# what werkzeug and Flask raise by themselves, in our words
_FOREIGN: dict[int, ServiceError] = {
    404: errors.NotFound("There is nothing at this address."),
    413: errors.BodyTooLarge("The body is over this server's limit; send a smaller image."),
    415: errors.NotJson("Send the body as JSON, with the header Content-Type: application/json."),
}


def error_response(error: ServiceError, status: int | None = None) -> Response:
    """The one answer that every error gets, as the dialect says it whose address was asked."""
    response = _native_response(error, status)
    for prefix, restate in current_app.extensions["restated_errors"].items():
        if request.path.startswith(prefix):
            restate(error, response)
    return response


def _native_response(error: ServiceError, status: int | None) -> Response:
    response = jsonify(error=error.message, code=error.code, fields=error.fields)
    response.status_code = STATUS[type(error)] if status is None else status
    if response.status_code == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = "2"
    if isinstance(error, errors.TryLater):
        response.headers["Retry-After"] = str(error.retry_after_s)
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # the rest of the body is still on its way: this connection cannot carry another request
        response.headers["Connection"] = "close"
    return response


def register_error_handlers(app: Flask, restated: Mapping[str, Restate]) -> None:
    """Translate every exception that can leave a view; a stack trace goes to the log only.

    `restated` has the shapes of dialects by what their addresses begin with.
    """
    app.extensions["restated_errors"] = restated

    @app.errorhandler(ServiceError)
    def ours(error: ServiceError) -> Response:
        return error_response(error)

    @app.errorhandler(ParseException)
    @app.errorhandler(NoMoreData)
    def broken_body(error: Exception) -> Response:
        # gunicorn finds the body's framing broken only while a view reads it
        response = error_response(errors.NotHttp("The body's framing is malformed, or its end is missing."))
        response.headers["Connection"] = "close"
        return response

    @app.errorhandler(redis.RedisError)
    def of_redis(error: redis.RedisError) -> Response:
        told = as_service_error(error)
        if isinstance(told, errors.InternalError):
            return unforeseen(error)
        log.warning("%s: %s", told.code, error)
        return error_response(told)

    @app.errorhandler(HTTPException)
    def foreign(error: HTTPException) -> Response:
        status = error.code or 500
        ready = _FOREIGN.get(status)
        if ready is None:
            kind = errors.RequestError if status < 500 else errors.InternalError
            ready = kind(error.description or error.name)
        response = error_response(ready, status)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers.extend(item for item in error.get_headers() if item[0] == "Allow")
        if isinstance(error, RequestedRangeNotSatisfiable):
            response.headers["Content-Range"] = f"bytes */{error.length}"
        return response

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.exception("unforeseen error", exc_info=error)
        return error_response(
            errors.InternalError(f"Something went wrong here; the server's log says what, at request {request_id()}.")
        )
