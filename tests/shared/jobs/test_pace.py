"""The pace of the service is right however many tasks share its workers."""

import heapq
import itertools
import random

import pytest

from shared.jobs.commits import Writes
from shared.jobs.keys import Keys
from shared.jobs.pace import Pace


def worked(client, tasks):
    """A pace that knows these tasks, each (begun, ended, cost)."""
    pace = Pace(client, Keys("pd:"))
    for begun, ended, cost in tasks:
        writes = Writes()
        pace.done(writes, begun, ended, cost)
        for name, *arguments in writes.commands:
            client.execute_command(name, *arguments)
    return pace


def shared(at_once, count, spread):
    """(begun, ended, cost) of tasks of which so many always share a device that does a cost of 1 in a second."""
    chance = random.Random(at_once)
    costs = (10 * (1 + spread * chance.uniform(-1, 1)) for _ in itertools.count())
    running: list[tuple[float, float, float]] = []
    done: list[tuple[float, float, float]] = []
    clock = work_each = 0.0
    while len(done) < count:
        while len(running) < at_once:
            cost = next(costs)
            heapq.heappush(running, (work_each + cost, clock, cost))
        until, begun, cost = heapq.heappop(running)
        clock += (until - work_each) * (len(running) + 1)
        work_each = until
        done.append((begun, clock, cost))
    return done


@pytest.mark.parametrize("spread", [0.1, 0.9])
@pytest.mark.parametrize("at_once", [1, 2, 16, 32])
def test_it_is_the_pace_of_the_device(redis_client, at_once, spread):
    """Given tasks that share a device of a known pace, when the pace is asked for, then it is that, to a tenth."""
    pace = worked(redis_client, shared(at_once, 300, spread))
    assert pace.per_second() == pytest.approx(1.0, rel=0.1)


def test_after_the_first_batch_it_is_too_low_rather_than_too_high(redis_client):
    """Given sixteen equal tasks that ended together, when the pace is asked for, then it counts the time they took."""
    pace = worked(redis_client, [(0.0, 8 + number / 1000, 1.0) for number in range(16)])
    assert pace.per_second() == pytest.approx(2.0, rel=0.01)


def test_time_without_work_does_not_count(redis_client):
    """Given two busy stretches with a pause between them, when the pace is asked for, then the pause is left out."""
    stretches = [(start + second, start + second + 1, 1.0) for start in (0, 1000) for second in range(10)]
    assert worked(redis_client, stretches).per_second() == pytest.approx(1.0)


def test_before_the_first_task_there_is_none(redis_client):
    """Given no task that ended, when the pace is asked for, then it is not known."""
    assert worked(redis_client, []).per_second() is None
