"""Who did what: a request id in every line of the log, and a line for every request."""

import logging
import re
import secrets
import time

import structlog
from flask import Flask, Response, g, request

from shared.settings import Settings

log = logging.getLogger(__name__)

HEADER = "X-Request-Id"
JOB_HEADER = "X-Task-Id"
_SANE = re.compile(r"[A-Za-z0-9._:+/=@-]{1,128}")
# asked again and again by programs that wait, or parts of the page: as long as nothing is wrong, of interest to nobody
_POLLS = ("/status/", "/health", "/ready", "/metrics", "/static/", "/sdapi/v1/progress")


def keep_trail(app: Flask, settings: Settings) -> None:
    """Give every request an id: the client's own X-Request-Id where it is a sane one. It stands in the answer too.

    With `settings.access_log` every request is a line: method, path (without what stands behind `?`), status,
    milliseconds, owner of the key, job. Polls that went well are lines of DEBUG.
    """

    @app.before_request
    def begin() -> None:
        given = request.headers.get(HEADER, "")
        g.request_id = given if _SANE.fullmatch(given) else secrets.token_hex(8)
        g.begun = time.perf_counter()
        structlog.contextvars.bind_contextvars(request_id=g.request_id)

    @app.after_request
    def end(response: Response) -> Response:
        if "request_id" in g:
            response.headers.setdefault(HEADER, g.request_id)
        if "job_id" in g:
            response.headers.setdefault(JOB_HEADER, g.job_id)
        return response

    @app.teardown_request
    def forget(_error: BaseException | None) -> None:
        structlog.contextvars.unbind_contextvars("request_id")

    if not settings.access_log:
        return

    @app.after_request
    def write(response: Response) -> Response:
        poll = response.status_code < 400 and request.path.startswith(_POLLS)
        level = logging.DEBUG if poll else logging.INFO
        if log.isEnabledFor(level) and "begun" in g:
            job_id = (request.view_args or {}).get("job_id") or g.get("job_id")
            about = {
                "method": request.method,
                "path": request.path,
                "status": response.status_code,
                "ms": round((time.perf_counter() - g.begun) * 1000, 1),
                "owner": g.get("owner"),
                "job_id": job_id,
            }
            with structlog.contextvars.bound_contextvars(**{name: value for name, value in about.items() if value}):
                log.log(level, "request")
        return response


def request_id() -> str:
    """The id of the request that is at work."""
    return str(g.get("request_id", ""))
