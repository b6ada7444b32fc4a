"""What the Redis behind the queue must be; every program looks when it starts."""

from typing import Any

import redis

# kombu 5.7 asks for ZRANGE .. BYSCORE REV. Valkey, and others that speak the protocol, say which Redis they are like
LEAST_REDIS = (6, 2)


class UnsuitableRedis(ValueError):
    """The server cannot carry the queue; the message says why and what to do."""


def check_server(client: Any) -> None:
    """Raise UnsuitableRedis where the server behind a redis-py client is too old for the queue.

    A server that does not answer, or does not tell what it is, passes: to be away is no reason not to start.
    """
    try:
        version = str(client.info("server").get("redis_version", ""))
    except (redis.RedisError, OSError):
        return
    if is_too_old(version):
        raise UnsuitableRedis(too_old(version))


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
