"""What Redis says, as errors of ours."""

import pytest
import redis
from redis import exceptions

from shared.errors import InternalError, RedisFull, ServiceUnavailable
from shared.redis.errors import as_service_error, passes

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
        (redis.ResponseError("Error running script: @user_script: 7: -OOM command not allowed"), RedisFull, "memory"),
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


@pytest.mark.parametrize(
    "error",
    [
        redis.ConnectionError("Connection refused"),
        redis.TimeoutError("Timeout reading from socket"),
        redis.exceptions.BusyLoadingError("Redis is loading the dataset in memory"),
        redis.exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        redis.exceptions.ReadOnlyError("You can't write against a read only replica."),
        redis.exceptions.MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
        redis.ResponseError("MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk."),
        redis.ResponseError("Command # 1 (HSET pd:job:1 x) of pipeline caused error: MISCONF Errors writing to AOF"),
        redis.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"),
        redis.ResponseError("NOREPLICAS Not enough good replicas to write."),
        redis.ResponseError("Error running script (call to f_1): @user_script:1: -READONLY You can't write"),
    ],
    ids=lambda error: str(error)[:30],
)
def test_what_passes(error):
    """Given an error of a server that is away, fails over, or cannot write for the moment, then it passes."""
    assert passes(error)


@pytest.mark.parametrize(
    "error",
    [
        redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        redis.ResponseError("Error running script: @user_script:31: too many results to unpack"),
        redis.ResponseError("Command # 2 (HSET pd:job:1 prompt READONLY) of pipeline caused error: ERR syntax error"),
        redis.exceptions.NoPermissionError("this user has no permissions to run 'brpop'"),
        redis.exceptions.ClusterCrossSlotError("Keys in request don't hash to the same slot"),
        redis.DataError("Invalid input of type: 'NoneType'."),
    ],
    ids=lambda error: str(error)[:30],
)
def test_what_does_not_pass(error):
    """Given an error that is a fault of the caller or of the set-up, then it does not pass by waiting."""
    assert not passes(error)
