"""The queue: notifies workers of the tasks that wait (`shared/jobs/backlog.py`), through Celery on Redis."""

import uuid
from typing import Any

import redis
from celery import Celery
from kombu.exceptions import OperationalError
from kombu.serialization import dumps

from shared.errors import ServiceUnavailable
from shared.redis.address import RedisAddress
from shared.redis.errors import as_service_error
from shared.settings import Settings
from shared.variants import ANY, QUEUES

RUN_TASK = "worker.run_row"
# where kombu's Redis transport notes when a delivery not yet acknowledged was handed out
DELIVERIES_KEY = "unacked_index"

_PERSISTENT = 2  # AMQP's delivery mode, which Celery gives every message


def make_celery(settings: Settings) -> Celery:
    """The Celery app of either side. JSON only; no Celery results: the job record is ours."""
    app = Celery("personal_diffusion", broker=RedisAddress.parse(settings.redis_url).for_celery)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=True,
        task_default_queue=QUEUES[ANY],
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


def connect(settings: Settings, waits_s: float = 0.0) -> Any:
    """A Redis client that gives up after `redis_timeout_s` seconds instead of hanging.

    `waits_s`: so much longer for commands that wait in Redis.
    """
    address = RedisAddress.parse(settings.redis_url)
    timeouts = address.timeouts(settings.redis_timeout_s)
    timeouts["socket_timeout"] += waits_s
    return redis.Redis.from_url(address.for_redis, decode_responses=True, **timeouts)


class TaskQueue:
    """Notifies workers: one message for each task, which says only that there is one, and for which variant."""

    def __init__(self, app: Celery, client: Any, prefix: str) -> None:
        self._redis = client
        self._prefix = prefix
        self._messages = Messages(app)

    def notify(self, variant: str, count: int = 1) -> None:
        """Notify workers of `variant` that `count` tasks are queued; raises what `as_service_error` makes of errors."""
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                for name, key, message in self._messages.commands(variant, count):
                    getattr(pipe, name)(self._prefix + key, message)
                pipe.execute()
        except OperationalError as wrapped:
            # kombu hides what Redis said behind an error of its own
            if isinstance(wrapped.__cause__, redis.RedisError):
                raise as_service_error(wrapped.__cause__) from wrapped.__cause__
            raise ServiceUnavailable("The queue cannot be reached; try again in a moment.") from None
        except redis.RedisError as wrong:
            raise as_service_error(wrong) from wrong
        except OSError:
            raise ServiceUnavailable("The queue cannot be reached; try again in a moment.") from None

    def messages_waiting(self, variant: str) -> int:
        """How many messages no worker has received yet. May raise `redis.RedisError`."""
        return int(self._redis.llen(self._prefix + QUEUES[variant]))


class Messages:
    """What kombu would send to Redis for a message of Celery's, without sending it.

    Celery's own `send_task` takes a connection, a client of Redis and a millisecond for every message. The layout stays
    kombu's and the message Celery's: the one is asked for the commands, the other for the message, of which only the
    ids differ from one to the next.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._templates: dict[str, Any] = {}
        self._channel: Any = None

    def commands(self, variant: str, count: int) -> list[tuple[str, str, str]]:
        """Name, key without the prefix, and value of each command; the first time, kombu connects to Redis."""
        if self._channel is None:
            self._channel = self._app.connection_for_write().channel()
        noted = _Noted()
        for _ in range(count):
            self._channel.basic_publish(self._new(variant), "", QUEUES[variant], _publish_batch=noted)
        return noted.commands

    def _new(self, variant: str) -> dict[str, Any]:
        if variant not in self._templates:
            self._templates[variant] = self._app.amqp.as_task_v2(
                "", RUN_TASK, kwargs={"variant": variant}, ignore_result=True
            )
        headers, properties, body, _ = self._templates[variant]
        content_type, encoding, text = dumps(body, serializer="json")
        message_id = str(uuid.uuid4())
        message: dict[str, Any] = self._channel.prepare_message(
            text,
            content_type=content_type,
            content_encoding=encoding,
            headers=headers | {"id": message_id, "root_id": message_id},
            properties=properties | {"correlation_id": message_id, "delivery_mode": _PERSISTENT},
        )
        return message


class _Noted:
    """Stands in for kombu's `PublishBatch`, which collects commands and sends them."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, str]] = []

    def add(self, name: str, key: str, value: str) -> None:
        self.commands.append((name, key, value))
