"""How many messages a worker takes from the queue."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from celery import Celery

from worker.jobs.prefetch import Prefetch


class Consumer:
    """Stands in for Celery's and for the broker's client: does at once what the main loop would do next."""

    def __init__(self) -> None:
        self.hub = SimpleNamespace(call_soon=lambda message: message())
        self.qos = self
        self.value = 16
        self.delivered: dict[int, object] = {}
        self.task_consumer = SimpleNamespace(
            channel=SimpleNamespace(qos=SimpleNamespace(_delivered=self.delivered, _dirty=set()))
        )

    def increment_eventually(self, change: int) -> None:
        self.value += change

    def decrement_eventually(self, change: int) -> None:
        self.value -= change

    @contextmanager
    def message(self, prefetch: Prefetch) -> Iterator[None]:
        """One comes, is worked on, and acknowledged."""
        tag = len(self.delivered)
        self.delivered[tag] = None
        with prefetch.working():
            yield
        del self.delivered[tag]
        prefetch.adjust()


def attached(takes_more: Callable[[int], int]) -> tuple[Prefetch, Consumer]:
    """The step that Celery would start, started."""
    app = Celery("test")
    prefetch, consumer = Prefetch(app, takes_more), Consumer()
    (step,) = app.steps["consumer"]
    made: Any = step(consumer)
    made.start(consumer)
    return prefetch, consumer


def test_the_next_message_is_taken_when_the_last_one_has_begun() -> None:
    """Given room for three, when messages begin and end, then the count is one more than they are, three at most."""
    prefetch, consumer = attached(lambda messages: messages < 3)
    seen = [consumer.value]
    with consumer.message(prefetch):
        seen.append(consumer.value)
        with consumer.message(prefetch):
            seen.append(consumer.value)
            with consumer.message(prefetch):
                seen.append(consumer.value)
            seen.append(consumer.value)
        seen.append(consumer.value)
    seen.append(consumer.value)
    assert seen == [1, 2, 3, 3, 3, 2, 1]


def test_as_many_are_taken_at_once_as_there_is_room_for() -> None:
    """Given nobody else who could take them, when there is room for three, then three may come before one has begun; as
    they begin the count stays, and room that is given up keeps a place for the one that may be on its way."""
    room = 3
    prefetch, consumer = attached(lambda messages: max(0, room - messages))
    assert consumer.value == 3
    with consumer.message(prefetch):
        assert consumer.value == 3
        room = 1
        prefetch.adjust()
        assert consumer.value == 2, "the broker may have sent it"
        with consumer.message(prefetch):
            assert consumer.value == 2
        room = 3
        prefetch.adjust()
        assert consumer.value == 3


def test_a_message_that_may_be_on_its_way_is_still_taken() -> None:
    """Given a worker that waits for one more message, when it wants no more, then this one may come, and no other."""
    more = True
    prefetch, consumer = attached(lambda _messages: more)
    with consumer.message(prefetch):
        assert consumer.value == 2
        more = False
        prefetch.adjust()
        assert consumer.value == 2, "the broker may have sent it"
        with consumer.message(prefetch):
            assert consumer.value == 2, "it came"
            more = True
            prefetch.adjust()
            assert consumer.value == 3


def test_an_acknowledgement_that_failed_takes_nobodys_place() -> None:
    """Given deliveries whose acknowledgements failed, when nothing is in hand, then one more message may come."""
    prefetch, consumer = attached(lambda messages: messages < 2)
    with consumer.message(prefetch):
        consumer.delivered |= {100: None, 101: None}
    assert consumer.value == 2 + 1


def test_a_worker_that_wants_more_takes_it_when_it_is_woken() -> None:
    """Given a worker that took all it wanted, when it wants more and is woken, then it looks again on the main loop's
    thread, and not on the one that woke it."""
    wanted = 1
    prefetch, consumer = attached(lambda messages: messages < wanted)
    later: list[Callable[[], None]] = []
    with consumer.message(prefetch):
        assert consumer.value == 1
        wanted = 4
        consumer.hub.call_soon = later.append
        prefetch.wake()
        assert consumer.value == 1
        while later:
            later.pop()()
        assert consumer.value == 2
