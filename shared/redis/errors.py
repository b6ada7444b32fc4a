"""What an error of Redis is to a client: one that passes, a full memory, or a fault of this installation."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis import exceptions

from shared.errors import InternalError, RedisFull, ServiceError, ServiceUnavailable

# redis-py derives these from its ConnectionError, and no waiting mends them
_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_AWAY = (redis.ConnectionError, redis.TimeoutError)
# it answers, but cannot do its work now: it loads its data, was just made a replica, or cannot write to its disk
_PASSING = (exceptions.ReadOnlyError, exceptions.ClusterDownError, exceptions.TryAgainError)
# redis-py has no classes for some of them, nor where a pipeline or a script of Redis 6 puts its own words before it
_PASSING_WORD = re.compile(
    r"(?:^|caused error: |: -)(?:READONLY|MISCONF|LOADING|MASTERDOWN|CLUSTERDOWN|NOREPLICAS|UNBLOCKED|BUSY)\b"
)
_FULL_WORD = re.compile(r"(?:^|caused error: |: -)OOM\b")


def passes(error: redis.RedisError) -> bool:
    """Whether the same call may succeed later: the error passes by itself, or once somebody has made room or amends."""
    return isinstance(error, _AWAY) or _is_full(error) or _is_hindered(error)


@contextmanager
def suppress_passing() -> Iterator[None]:
    """For what may fail while Redis is away; an error that does not pass is raised."""
    try:
        yield
    except redis.RedisError as away:
        if not passes(away):
            raise


def _is_full(error: redis.RedisError) -> bool:
    return isinstance(error, exceptions.OutOfMemoryError) or bool(_FULL_WORD.search(str(error)))


def _is_hindered(error: redis.RedisError) -> bool:
    return isinstance(error, _PASSING) or bool(_PASSING_WORD.search(str(error)))


def as_service_error(error: redis.RedisError) -> ServiceError:
    """The error of ours that stands for one of Redis.

    ServiceUnavailable where trying again can help, RedisFull for a full memory, else InternalError: a wrong password or
    a broken command is nobody's bad luck, and belongs in the log.
    """
    if _is_full(error):
        return RedisFull("Redis has no memory left; try again once jobs have expired, or give it more (maxmemory).")
    if isinstance(error, _AWAY) and not isinstance(error, _REFUSED):
        return ServiceUnavailable("Redis cannot be reached; try again in a moment.")
    if _is_hindered(error):
        return ServiceUnavailable("Redis takes no writes at present; try again in a moment.")
    return InternalError("Something went wrong here; the server's log says what.")
