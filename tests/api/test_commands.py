"""What is asked of Redis on the ways that are taken often: nothing that takes longer the more there is in it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from shared.jobs.workers import WorkerCard
from shared.queue import TaskQueue, make_celery
from shared.settings import Settings

CARD = WorkerCard("w1", "cpu", "cpu", 2, available_models=("demo",))
# one step, or one a level of a tree, however much there is; scripts are watched inside, too
SHORT = {
    "AUTH", "CLIENT", "DEL", "DISCARD", "ECHO", "EVAL", "EVALSHA", "EXEC", "EXISTS", "EXPIRE", "GET", "HDEL", "HELLO",
    "HEXISTS", "HGET", "HINCRBY", "HINCRBYFLOAT", "HLEN", "HMGET", "HSET", "HSETNX", "INFO", "LLEN", "LPUSH", "MULTI",
    "PEXPIRE", "PING", "PTTL", "SADD", "SCARD", "SCRIPT", "SELECT", "SET", "SREM", "TIME", "TTL", "UNWATCH", "WATCH",
    "ZADD", "ZCARD", "ZINCRBY", "ZRANK", "ZREM", "ZSCORE",
}  # fmt: skip
# as long as a record is, which its job bounds
OF_A_RECORD = {"HGETALL": ("pd:job:", "pd:steps:")}
# as long as a list that is kept short
OF_A_SHORT_LIST = {"LRANGE": ("pd:pace", "pd:recent"), "LTRIM": ("pd:pace", "pd:recent")}
# the live workers
OF_WORKERS = {"ZRANGEBYSCORE": ("pd:workers:until",)}


def objection(words: list[str]) -> str | None:
    """Why a command may take longer the more there is; None where it may not."""
    name, *arguments = words
    name = name.upper()
    if name in SHORT:
        return None
    for allowed in (OF_A_RECORD, OF_A_SHORT_LIST, OF_WORKERS):
        if name in allowed and arguments[0].startswith(allowed[name]):
            return None
    if name in ("ZRANGEBYSCORE", "ZREVRANGEBYSCORE") and "LIMIT" in [word.upper() for word in arguments]:
        return None
    if name in ("ZRANGE", "LRANGE") and int(arguments[2]) >= 0 and int(arguments[2]) - int(arguments[1]) < 1000:
        return None
    if name == "XADD" and "MAXLEN" in arguments:  # lets go of a node of the stream at most, beside what it adds
        return None
    if name == "SRANDMEMBER" and len(arguments) == 2:
        return None
    return " ".join(words)


@pytest.fixture
def sent_during(world: Any) -> Iterator[Callable[[Callable[[], object]], list[list[str]]]]:
    """Do something, and give every command that Redis ran meanwhile, those inside of scripts included."""
    client = redis.Redis.from_url(world.server.url, decode_responses=True)

    def watch(act: Callable[[], object]) -> list[list[str]]:
        commands: list[list[str]] = []
        with client.monitor() as monitor:

            def listen() -> None:
                for each in monitor.listen():
                    words = each["command"].split(" ")
                    if words[0].upper() == "ECHO":
                        return
                    commands.append(words)

            thread = threading.Thread(target=listen)
            thread.start()
            act()
            client.echo("that was all")
            thread.join(30)
            assert not thread.is_alive()
        return commands

    yield watch
    client.close()


@pytest.fixture
def busy(world: Any) -> str:
    """A world with a worker and jobs of each state; gives the id of one that waits."""
    world.services.workers.announce(CARD)
    world.work(world.submit())
    world.services.jobs.claims.claim(world.submit(), 0)
    world.client.post(f"/cancel/{world.submit()}")
    return str(world.submit())


def test_ways_that_are_taken_often_ask_nothing_that_grows(world: Any, busy: str, sent_during: Any) -> None:
    """Given jobs of all states, when submitting, polling, looking and announcing, then every command is a short one."""
    settings = Settings(redis_url=world.server.url)
    app = make_celery(settings)
    queue = TaskQueue(app, world.redis, settings.key_prefix)
    ways: dict[str, Callable[[], object]] = {
        "submit": lambda: world.submit(seed=7, n_iter=2),
        "status": lambda: world.client.get(f"/status/{busy}"),
        "cancel": lambda: world.client.post(f"/cancel/{world.submit()}"),
        "ready": lambda: world.client.get("/ready"),
        "metrics": lambda: world.client.get("/metrics"),
        "models": lambda: world.client.get("/models"),
        "heartbeat": lambda: world.services.workers.announce(CARD),
        "message": lambda: queue.notify("any", 2),
        "work": lambda: world.work(world.submit()),
    }
    for name, act in ways.items():
        commands = sent_during(act)
        assert commands, f"nothing was seen of {name}"
        assert [objection(words) for words in commands if objection(words)] == [], name
    app.close()


def test_a_submit_takes_few_round_trips(world: Any, busy: str, sent_during: Any) -> None:
    """Given a service that has begun, when a job is submitted, then one script accepts it and no key is looked for."""
    names = Counter(words[0].upper() for words in sent_during(world.submit))
    assert not names.keys() & {"SCAN", "KEYS", "SMEMBERS", "MGET"}
    assert names["EVALSHA"] <= 2
    assert names["ZADD"] >= 3, "what scripts do is not seen"


def test_what_grows_is_objected_to() -> None:
    """Given commands that take longer the more there is, then each is named; bounded ones are not."""
    for text in (
        "SCAN 0 MATCH pd:worker:*", "KEYS *", "SMEMBERS pd:x", "HGETALL pd:backlog:work", "LRANGE pd:images.any 0 -1",
        "ZRANGE pd:backlog:jobs 0 -1", "ZRANGEBYSCORE pd:expiring 0 5", "MGET a b", "SORT a",
    ):  # fmt: skip
        assert objection(text.split()) == text
    for text in ("HGETALL pd:job:1", "ZRANGE pd:backlog:jobs 3 3", "ZRANGEBYSCORE pd:expiring 0 5 LIMIT 0 10"):
        assert objection(text.split()) is None
