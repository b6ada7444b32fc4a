"""What becomes of a job whose client goes away while it waits for it.

The native dialect keeps the job. Elsewhere a client that is gone had no way to learn the job's id, so its job is
cancelled, once its retry has had the time to come. Who waits for the same job, at whatever API process, keeps it, also
who came before; who listens to its events wants it too.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import redis
from flask import Request

from api.services import Services
from shared.errors import ServiceError
from shared.logs import about_job
from shared.settings import AUTO, CANCEL, KEEP

log = logging.getLogger(__name__)


@contextmanager
def minded(
    services: Services,
    http_request: Request | None,
    job_id: str,
    client: str,
    over: Callable[[], None],
    *,
    dialect: str = CANCEL,
) -> Iterator[None]:
    """Within the block, mind whether the client is still there, and do for its job what ON_DISCONNECT says.

    `client`: a name for it, of its own. `over` is called, from another thread, once there is nobody here to wait for.
    `dialect`: what a dialect does unless the operator chose; without a request, nothing. A client that was there to the
    end of the block may come back for the job, so that nobody else's going away cancels it. May raise
    `redis.RedisError`.
    """
    chosen = dialect if services.settings.on_disconnect == AUTO else services.settings.on_disconnect
    # gunicorn's; a server without it cannot tell
    connection = http_request.environ.get("gunicorn.socket") if http_request else None
    when_gone = getattr(connection, "when_gone", None)
    if when_gone is None:
        yield
        return
    if chosen == KEEP:
        with when_gone(over):
            yield
        return
    services.jobs.came_to_wait(job_id, client)

    def leave() -> None:
        timer = threading.Timer(services.settings.disconnect_grace_s, _end, (services, job_id, client, over))
        timer.daemon = True
        timer.start()

    with when_gone(leave):
        yield


def _end(services: Services, job_id: str, client: str, over: Callable[[], None]) -> None:
    """Cancel the job, unless somebody else waits for it."""
    try:
        with about_job(job_id), suppress(redis.RedisError, ServiceError):
            if not services.stopping.is_set() and services.jobs.left(job_id, client):
                log.info("its client is gone, and no retry came: the job is cancelled")
                services.jobs.cancel(job_id)
    finally:
        over()
