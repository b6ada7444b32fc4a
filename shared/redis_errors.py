"""What an error of Redis is to a client: one that passes, a full memory, or a fault of this installation."""

import redis
from redis import exceptions

from shared.errors import InternalError, RedisFull, ServiceError, ServiceUnavailable

# redis-py derives these from its ConnectionError, and no waiting mends them
_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_AWAY = (redis.ConnectionError, redis.TimeoutError)
# it answers, but cannot do its work now: it loads its data, was just made a replica, or cannot write to its disk
_PASSING = (exceptions.ReadOnlyError, exceptions.ClusterDownError, exceptions.TryAgainError)
_PASSING_WORDS = ("MISCONF ", "NOREPLICAS ")


def as_service_error(error: redis.RedisError) -> ServiceError:
    """The error of ours that stands for one of Redis.

    ServiceUnavailable where trying again can help, RedisFull for a full memory, else InternalError: a wrong password or
    a broken command is nobody's bad luck, and belongs in the log.
    """
    if isinstance(error, exceptions.OutOfMemoryError) or str(error).startswith("OOM "):
        return RedisFull("Redis has no memory left; try again once jobs have expired, or give it more (maxmemory).")
    if isinstance(error, _AWAY) and not isinstance(error, _REFUSED):
        return ServiceUnavailable("Redis cannot be reached; try again in a moment.")
    if isinstance(error, _PASSING) or any(word in str(error) for word in _PASSING_WORDS):
        return ServiceUnavailable("Redis takes no writes at present; try again in a moment.")
    return InternalError("Something went wrong here; the server's log says what.")
