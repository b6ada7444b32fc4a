"""Which requests are next, played through with a clock that only forward passes move."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from worker.engine.scheduler import Scheduler


@dataclass(eq=False)
class Wanted:
    """A request: so many evaluations of so many seconds each, from `arrives` on."""

    evaluations: int
    seconds: float = 1.0
    arrives: float = 0.0
    group: str = "a"
    done: int = 0
    end: float = 0.0

    @property
    def remaining(self) -> int:
        return self.evaluations - self.done


def play(requests: list[Wanted], share: Callable[[list[Wanted]], int] = lambda _due: 1, until: float = 1e9) -> None:
    """Run them all; a pass that several share takes as long as its first alone."""
    scheduler, now = Scheduler(), 0.0
    left = sorted(requests, key=lambda request: request.arrives)
    while left and now < until:
        here = [request for request in left if request.arrives <= now]
        if not here:
            now = left[0].arrives
            continue
        due = scheduler.order(here, lambda request: request.seconds)
        batch = due[: share(due)]
        now += batch[0].seconds
        scheduler.took(batch[0].seconds, here[0] in batch)
        for request in batch:
            request.done += 1
            request.end = now
            if not request.remaining:
                left.remove(request)


def test_equal_requests_run_one_after_the_other() -> None:
    """Given a device that gains nothing by sharing, when eight equal requests come, then they end at T, 2T, ..."""
    requests = [Wanted(20) for _ in range(8)]
    play(requests)
    assert [request.end for request in requests] == [20.0 * (number + 1) for number in range(8)]


@pytest.mark.parametrize("group", ["a", "b"])
def test_a_short_request_does_not_wait_for_a_long_one(group: str) -> None:
    """Given a long request of slow steps under way, when a short one comes, then it ends within twice its time alone,
    and the long one is late by no more than the short one's time."""
    long, short = Wanted(50, 3.0), Wanted(20, 1.0, arrives=10.0, group=group)
    play([long, short])
    assert short.end - short.arrives <= 2 * 20
    assert long.end == 50 * 3 + 20


def test_a_stream_of_short_requests_does_not_starve_a_long_one() -> None:
    """Given short requests that never cease, when a long one of another group waits, then it has its fifth."""
    long = Wanted(50, 2.0, group="long")
    stream = [Wanted(10, 1.0, arrives=float(10 * number), group="short") for number in range(200)]
    play([long, *stream])
    assert long.end <= 5 * 50 * 2 + 10


def test_requests_of_one_group_share_and_keep_their_order() -> None:
    """Given requests of two groups, when some share a pass, then they are of one group, the older ones first."""
    scheduler = Scheduler()
    old, other, young, short = (
        Wanted(9, group="a"), Wanted(9, group="b"), Wanted(9, group="a"), Wanted(2, group="a")
    )  # fmt: skip
    assert scheduler.order([old, other, young, short], lambda request: request.seconds) == [short, old, young]


def test_two_models_end_in_fair_time() -> None:
    """Given equal streams for two models, when they take turns, then neither waits longer than the other on average."""
    both = [Wanted(20, arrives=float(number), group=group) for number in range(6) for group in ("one", "two")]
    play(both)
    latency = {group: statistics.mean(r.end - r.arrives for r in both if r.group == group) for group in ("one", "two")}
    assert latency["two"] == pytest.approx(latency["one"], rel=0.25)
