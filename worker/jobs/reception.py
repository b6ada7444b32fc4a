"""Whether messages of the queue reach this process, as far as it can know."""

import time
from collections.abc import Callable
from queue import Empty
from typing import Any

from celery import Celery, bootsteps

# the broker's client asks anew every second
_SILENT_S = 10.0


class Reception:
    """Watches the consumer of `app`'s worker: it receives once the broker has answered it, and until that fails.

    To be connected is not enough: a broker may refuse the very command that waits for messages.
    """

    def __init__(self, app: Celery, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._channel: Any = None
        self._answered: float | None = None
        reception = self

        class Watch(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery ships no types
            """After every connection to the broker there is a new channel."""

            requires = ("celery.worker.consumer.tasks:Tasks",)

            def start(self, consumer: Any) -> None:
                reception.watch(consumer.task_consumer.channel)

            def stop(self, _consumer: Any) -> None:
                reception.lose()

        app.steps["consumer"].add(Watch)

    def receives(self) -> bool:
        """Whether messages come in, or would if there was room for them here."""
        channel, answered = self._channel, self._answered
        if channel is None or answered is None:
            return False
        # with its hands full this worker asks for nothing
        return self._clock() - answered < _SILENT_S or not channel.qos.can_consume()

    def watch(self, channel: Any) -> None:
        """Notice each answer to what waits for messages on this channel."""
        read = channel.handlers["BRPOP"]

        def noticed(**options: Any) -> Any:
            try:
                received = read(**options)
            except Empty:
                self._answered = self._clock()
                raise
            except Exception:
                self._answered = None
                raise
            self._answered = self._clock()
            return received

        self._answered = None
        self._channel = channel
        channel.handlers["BRPOP"] = noticed

    def lose(self) -> None:
        """The connection is gone."""
        self._channel = self._answered = None
