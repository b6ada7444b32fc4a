"""What Redis says, as errors of ours."""

import pytest
import redis
from redis import exceptions

from shared.errors import InternalError, RedisFull, ServiceUnavailable
from shared.redis_errors import as_service_error

AWAY, NO_WRITES = "cannot be reached", "takes no writes"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (redis.ConnectionError("Error 111 connecting"), ServiceUnavailable, AWAY),
        (redis.TimeoutError("Timeout reading from socket"), ServiceUnavailable, AWAY),
        (exceptions.BusyLoadingError("Redis is loading the dataset in memory"), ServiceUnavailable, AWAY),
        (exceptions.MaxConnectionsError("Too many connections"), ServiceUnavailable, AWAY),
        (exceptions.ReadOnlyError("You can't write against a read only replica."), ServiceUnavailable, NO_WRITES),
        (exceptions.MasterDownError("MASTERDOWN Link with MASTER is down"), ServiceUnavailable, NO_WRITES),
        (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"), ServiceUnavailable, NO_WRITES),
        (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), ServiceUnavailable, NO_WRITES),
        (exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), RedisFull, "memory"),
        (exceptions.AuthenticationError("NOAUTH Authentication required."), InternalError, "log"),
        (exceptions.AuthenticationError("WRONGPASS invalid username-password pair"), InternalError, "log"),
        (exceptions.NoPermissionError("NOPERM this user has no permissions"), InternalError, "log"),
        (redis.ResponseError("too many results to unpack"), InternalError, "log"),
        (redis.ResponseError("WRONGTYPE Operation against a key"), InternalError, "log"),
        (redis.DataError("Invalid input of type: 'NoneType'"), InternalError, "log"),
    ],
)
def test_only_what_passes_is_told_as_unavailable(error, kind, words):
    """Given an error of Redis, when it is translated, then waiting is advised where waiting helps, and else not."""
    told = as_service_error(error)

    assert type(told) is kind
    assert words in told.message
