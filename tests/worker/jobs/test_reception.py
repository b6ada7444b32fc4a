"""When messages reach a worker."""

from contextlib import suppress
from queue import Empty
from typing import Any

import pytest
from celery import Celery

from tests.conftest import Clock
from worker.jobs.reception import Reception


class Channel:
    """Stands in for kombu's channel: its reading raises what it is told to, or gives a message."""

    def __init__(self) -> None:
        self.answer: Exception | bool = Empty()
        self.handlers = {"BRPOP": self.read}
        self.room = True
        self.qos = self

    def read(self, **_: Any) -> bool:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def can_consume(self) -> bool:
        return self.room

    def turn(self) -> None:
        """What the loop does when the broker has answered."""
        with suppress(Empty, PermissionError):
            self.handlers["BRPOP"]()


@pytest.fixture
def reception(clock: Clock) -> Reception:
    return Reception(Celery("test", broker="memory://"), clock)


def test_connected_is_not_yet_receiving(reception: Reception) -> None:
    """Given a new connection, when the broker has answered, with a message or with none, then it receives."""
    for answer in (Empty(), True):
        channel = Channel()
        channel.answer = answer
        reception.watch(channel)
        assert not reception.receives()
        channel.turn()
        assert reception.receives()
        reception.lose()
        assert not reception.receives()


def test_a_broker_that_refuses_lets_nothing_through(reception: Reception) -> None:
    """Given a broker that refuses the command that waits for messages, then nothing is received until it does not."""
    channel = Channel()
    reception.watch(channel)
    channel.turn()
    channel.answer = PermissionError("this user has no permissions to run 'brpop'")
    channel.turn()
    assert not reception.receives()
    channel.answer = True
    channel.turn()
    assert reception.receives()


def test_silence_is_one_only_where_something_was_asked_for(reception: Reception, clock: Clock) -> None:
    """Given no answer for long, then it receives no more, unless it has its hands full and asks for nothing."""
    channel = Channel()
    reception.watch(channel)
    channel.turn()
    clock.now += 60
    assert not reception.receives()
    channel.room = False
    assert reception.receives()
