"""The queue's sending end."""

import json
import os
import signal
import socket
from contextlib import contextmanager, suppress

import pytest
import redis

from client.local.processes import start_child, stop_children
from shared.errors import InternalError, RedisFull, ServiceUnavailable
from shared.queue import RUN_TASK, TaskQueue, connect, make_celery
from shared.settings import Settings
from shared.variants import QUEUES


@pytest.fixture
def closed_port():
    """A loopback port on which nobody listens: bound and never listened on."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextmanager
def running(server, folder, *options):
    """The port of a Redis of one's own with these options."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(server), "--bind", "127.0.0.1", "--port", str(port), "--save", "", *options]
    child = start_child(
        "redis", command, environment=dict(os.environ), log=folder / "redis.log", cwd=folder,
        when_orphaned=signal.SIGKILL,
    )  # fmt: skip
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert child.alive, child.last_words()
        yield port
    finally:
        stop_children([child], 10)


def test_with_redis_away_sending_says_so(closed_port):
    """Given nobody at the broker's address, when a worker is called, then it is ServiceUnavailable, again and again."""
    settings = Settings(redis_url=f"redis://127.0.0.1:{closed_port}/0", redis_timeout_s=0.5)
    queue = TaskQueue(make_celery(settings), connect(settings), "pd:")

    for _ in range(2):
        with pytest.raises(ServiceUnavailable, match="cannot be reached"):
            queue.notify("any")


def test_a_broker_that_refuses_is_told_as_what_it_is(redis_server, tmp_path):
    """Given a Redis that asks for a password, or has no memory left, when a worker is called, then nobody says that it
    cannot be reached."""
    url = "redis://127.0.0.1:{port}/0"
    with running(redis_server, tmp_path, "--requirepass", "not known here") as port:
        settings = Settings(redis_url=url.format(port=port))
        queue = TaskQueue(make_celery(settings), connect(settings), "pd:")
        with pytest.raises(InternalError):
            queue.notify("any")
    with running(redis_server, tmp_path, "--maxmemory", "1") as port:
        settings = Settings(redis_url=url.format(port=port))
        queue = TaskQueue(make_celery(settings), connect(settings), "pd:")
        with pytest.raises(RedisFull):
            queue.notify("any")


@pytest.fixture
def broker(redis_url):
    """A Celery app and a client of a real Redis, with the settings of both."""
    settings = Settings(redis_url=redis_url, key_prefix="of-the-queue:")
    app, client = make_celery(settings), connect(settings)
    yield app, client, settings.key_prefix
    app.close()
    client.delete(*(settings.key_prefix + queue for queue in QUEUES.values()))
    client.close()


def test_messages_are_as_celery_sends_them(broker):
    """Given messages for two tasks, when compared with what Celery itself sends, then only the ids differ."""
    app, client, prefix = broker
    queue = TaskQueue(app, client, prefix)
    queue.notify("standard", 2)
    app.send_task(RUN_TASK, kwargs={"variant": "standard"}, queue=QUEUES["standard"], ignore_result=True)
    assert queue.messages_waiting("standard") == 3

    messages = [json.loads(text) for text in client.lrange(prefix + QUEUES["standard"], 0, -1)]
    ids = set()
    for message in messages:
        headers, properties = message["headers"], message["properties"]
        assert headers["id"] == headers["root_id"] == properties["correlation_id"]
        ids |= {headers.pop("id"), headers.pop("root_id"), properties.pop("correlation_id")}
        ids.add(properties.pop("delivery_tag"))
        properties.pop("reply_to")  # where an answer would go: there is none
    assert len(ids) == 6
    assert messages[0] == messages[1] == messages[2]


def test_messages_are_one_round_trip_however_many_tasks(broker, monkeypatch):
    """Given messages for 64 tasks, when they are sent, then all go at once."""
    app, client, prefix = broker
    queue = TaskQueue(app, client, prefix)
    queue.notify("any")
    sent = []
    send = redis.connection.Connection.send_packed_command

    def send_and_count(*words, **named):
        sent.append(1)
        return send(*words, **named)

    monkeypatch.setattr(redis.connection.Connection, "send_packed_command", send_and_count)
    queue.notify("any", 64)

    assert len(sent) == 1
    assert queue.messages_waiting("any") == 65


def test_a_worker_understands_a_message(broker):
    """Given a message, when taken from the queue by kombu, then it says which task to run for which variant."""
    app, client, prefix = broker
    TaskQueue(app, client, prefix).notify("any")

    with app.connection_for_read() as connection, connection.SimpleQueue(QUEUES["any"]) as queue:
        message = queue.get(timeout=10)
        message.ack()
    assert message.headers["task"] == RUN_TASK
    assert message.decode()[:2] == [[], {"variant": "any"}]


def test_nothing_but_json_travels_and_deliveries_are_acknowledged_late():
    """Given the Celery app, when its settings are read, then pickle is off and a dead worker's task comes back."""
    conf = make_celery(Settings(visibility_timeout_s=7, key_prefix="x:")).conf

    assert (conf.task_serializer, list(conf.accept_content)) == ("json", ["json"])
    assert (conf.task_acks_late, conf.task_ignore_result, conf.worker_prefetch_multiplier) == (True, True, 1)
    assert conf.broker_transport_options["visibility_timeout"] == 7
    assert conf.broker_channel_error_retry, "a Redis without room must not stop a worker for good"
    assert conf.broker_transport_options["global_keyprefix"] == "x:"


def test_monitors_are_told_only_where_that_is_wanted():
    """Given the setting, then workers send Celery's events only with it; nobody can control them from afar."""
    apps = [make_celery(Settings(worker_events=wanted)) for wanted in (False, True)]
    assert [app.conf.worker_send_task_events for app in apps] == [False, True]
    assert not any(app.conf.worker_enable_remote_control for app in apps)
