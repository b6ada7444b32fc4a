"""The queue: how workers are called to the rows that wait (`shared/backlog.py`), over Celery on Redis."""

from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError

from shared.errors import ServiceUnavailable
from shared.redis_address import RedisAddress
from shared.redis_errors import as_service_error
from shared.requests import ANY_VARIANT
from shared.settings import Settings

RUN_ROW = "worker.run_row"
QUEUES = {ANY_VARIANT: "images.any", "standard": "images.standard", "optimized": "images.optimized"}
# where kombu's Redis transport notes when a delivery not yet acknowledged was handed out
DELIVERIES_KEY = "unacked_index"
# which requests the workers of a variant take, by the variant that these ask for; a CPU worker serves every kind
SERVED_BY = {
    "standard": (ANY_VARIANT, "standard"),
    "optimized": (ANY_VARIANT, "optimized"),
    "cpu": tuple(QUEUES),
}


def make_celery(settings: Settings) -> Celery:
    """The Celery app of either side. JSON only; no Celery results: the job record is ours."""
    app = Celery("personal_diffusion", broker=RedisAddress.parse(settings.redis_url).for_celery)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_default_queue=QUEUES[ANY_VARIANT],
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_send_task_events=settings.worker_events,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
        # a Redis at its maxmemory refuses to note a delivery; without this the worker would stop for good
        broker_channel_error_retry=True,
        broker_connection_timeout=settings.redis_timeout_s,
        broker_transport_options={
            "visibility_timeout": settings.visibility_timeout_s,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
            # a worker killed while it restores leaves this lock behind; what two of them restore at once is restored
            # once, by the broker's own transactions
            "unacked_mutex_expire": 2,
            "global_keyprefix": settings.key_prefix,
            "socket_connect_timeout": settings.redis_timeout_s,
            "max_retries": 1,
            "interval_start": 0,
        },
    )
    return app


def connect(settings: Settings) -> Any:
    """A Redis client that gives up after `redis_timeout_s` seconds instead of hanging."""
    address = RedisAddress.parse(settings.redis_url)
    return redis.Redis.from_url(address.for_redis, decode_responses=True, **address.timeouts(settings.redis_timeout_s))


class RowQueue:
    """Calls workers: one message for each row, saying only that there is one, and for whom."""

    def __init__(self, app: Celery, client: Any, prefix: str) -> None:
        self._app = app
        self._redis = client
        self._prefix = prefix

    def call(self, variant: str) -> None:
        """Call a worker of `variant` to one row; raises what `as_service_error` makes of Redis' errors."""
        try:
            self._app.send_task(RUN_ROW, kwargs={"variant": variant}, queue=QUEUES[variant], ignore_result=True)
        except OperationalError as wrapped:
            # kombu hides what Redis said behind an error of its own
            if isinstance(wrapped.__cause__, redis.RedisError):
                raise as_service_error(wrapped.__cause__) from wrapped.__cause__
            raise ServiceUnavailable("The queue cannot be reached; try again in a moment.") from None
        except redis.RedisError as wrong:
            raise as_service_error(wrong) from wrong
        except OSError:
            raise ServiceUnavailable("The queue cannot be reached; try again in a moment.") from None

    def calls_waiting(self, variant: str) -> int:
        """How many calls no worker has received yet. May raise `redis.RedisError`."""
        return int(self._redis.llen(self._prefix + QUEUES[variant]))
