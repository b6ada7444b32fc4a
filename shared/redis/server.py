"""What the Redis behind the queue must be; every program looks when it starts."""

import logging
import threading
from typing import Any

import redis

# kombu 5.7 asks for ZRANGE .. BYSCORE REV. Valkey, and others that speak the protocol, say which Redis they are like
LEAST_REDIS = (6, 2)
_NO_EVICTION = "noeviction"
_RETRY_S = 2.0

log = logging.getLogger(__name__)


class UnsuitableRedis(ValueError):
    """The server cannot carry the queue; the message says why and what to do."""


def check_server(client: Any) -> None:
    """Raise UnsuitableRedis where the server behind a redis-py client is too old for the queue, or of another kind.

    A server that does not answer, or does not tell what it is, passes: to be away is no reason not to start.
    """
    try:
        told = client.info("server")
    except (redis.RedisError, OSError):
        return
    version, mode = str(told.get("redis_version", "")), told.get("redis_mode")
    if is_too_old(version):
        raise UnsuitableRedis(too_old(version))
    if mode == "cluster":
        raise UnsuitableRedis(
            "Redis in cluster mode cannot carry the queue, whose keys must change together: "
            "set REDIS_URL to a Redis with cluster-enabled no."
        )
    if mode == "sentinel":
        raise UnsuitableRedis("REDIS_URL leads to a Redis Sentinel: set it to the Redis that this one watches.")


def risk_of(client: Any) -> str | None:
    """How the server may lose accepted jobs though it works, and which setting to change; None where it does not.

    Raises `redis.RedisError` when it does not answer.
    """
    try:
        policy = str(client.info("memory").get("maxmemory_policy", _NO_EVICTION))
    except redis.ResponseError:  # forbidden to this user, or unknown to a server that only speaks like Redis
        return None
    if policy == _NO_EVICTION:
        return None
    return (
        f"Redis has maxmemory-policy {policy}: when its memory is full it throws away accepted jobs and results. "
        f"Set maxmemory-policy {_NO_EVICTION}."
    )


def warn_of_risk(client: Any) -> threading.Thread:
    """Log the risk of the server, if there is one, as soon as it answers; from a thread of its own."""

    def ask() -> None:
        pause = threading.Event()
        while True:
            try:
                risk = risk_of(client)
            except (redis.RedisError, OSError):
                pause.wait(_RETRY_S)
                continue
            if risk:
                log.warning("%s", risk)
            return

    thread = threading.Thread(target=ask, name="risk of redis", daemon=True)
    thread.start()
    return thread


def is_too_old(version: str) -> bool:
    """Whether a version such as `6.0.16` is below the least; what cannot be read is not."""
    numbers = [int(number) for number in version.split(".")[:2] if number.isdecimal()]
    return len(numbers) == 2 and tuple(numbers) < LEAST_REDIS


def too_old(version: str) -> str:
    """The sentence about a server of such a version."""
    least = ".".join(map(str, LEAST_REDIS))
    return (
        f"Redis {version} is too old: the queue needs Redis {least} or newer, or any Valkey; "
        "install a newer one, or set REDIS_URL to another."
    )
