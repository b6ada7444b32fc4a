"""The clock of Redis: no machine's own decides when something expires."""

import time

import fakeredis
import pytest
import redis

from shared.jobs.store import JobStore
from shared.redis.clock import RedisClock
from tests.shared.conftest import tell


class Server:
    """A Redis that tells a time of its own, and can be away."""

    def __init__(self, now):
        self.now = now
        self.asked = 0
        self.away = False

    def time(self):
        self.asked += 1
        if self.away:
            raise redis.ConnectionError("away")
        return int(self.now), round(self.now % 1 * 1e6)


def test_the_time_is_that_of_redis_and_goes_on_in_between(clock):
    """Given a Redis with another time, when asked for the time, then it is Redis', asked for once a minute."""
    server = Server(5000.25)
    now = RedisClock(server, clock)
    assert now() == pytest.approx(5000.25)
    clock.now += 59
    assert now() == pytest.approx(5059.25)
    assert server.asked == 1
    clock.now += 2
    server.now = 9000.0
    assert now() == pytest.approx(9000.0)
    assert server.asked == 2


def test_a_redis_that_goes_away_stops_no_clock(clock):
    """Given a clock that Redis answered once, when it is away, then time goes on; before that it is an error."""
    server = Server(5000.0)
    server.away = True
    now = RedisClock(server, clock)
    with pytest.raises(redis.ConnectionError):
        now()
    server.away = False
    now()
    server.away = True
    clock.now += 100
    assert now() == pytest.approx(5100.0)
    assert now() == pytest.approx(5100.0)
    assert server.asked == 3, "it is not asked each time while it is away"


def test_a_machine_that_is_a_day_ahead_deletes_and_ends_nothing_early(generate, monkeypatch):
    """Given a worker whose own clock is a day ahead, when it looks, then nothing is due, overdue or late."""
    client = fakeredis.FakeRedis(decode_responses=True)
    right = JobStore(client, longest_wait_s=3600, deadline_s=3600)
    right.accept("ended", generate())
    right.cancel("ended")
    right.accept("waits", generate())
    right.accept("runs", generate())
    claim = right.claims.claim("runs", 0)
    assert claim is not None
    told = client.time()
    of_this_machine = time.time
    monkeypatch.setattr(time, "time", lambda: of_this_machine() + 86400)
    monkeypatch.setattr(client, "time", lambda: told)
    ahead = JobStore(client, longest_wait_s=3600, deadline_s=3600)

    assert ahead.folders.due() == []
    assert ahead.endings.end_overdue() == 0
    tell(ahead, claim, 1, 2)
    assert ahead.claims.objections([claim]) == {}
