"""How much work stands before each place of the queue, from a look at a few hundred of its jobs.

To sum what is ahead of one job takes time that grows with the queue, and every poll of a waiting job asks for it. So
the queue is looked at once in a while, at evenly spaced places; each stands for those between it and the one before.
A queue of no more jobs than that is known exactly.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

from shared.jobs.keys import Keys
from shared.jobs.scripts import script

MOST_LOOKED_AT = 500


@dataclass(frozen=True)
class QueueSurvey:
    """The places looked at, from 1; the cost of all waiting jobs up to each of them; and of what has begun."""

    places: tuple[int, ...]
    work: tuple[float, ...]
    begun: float

    @classmethod
    def of(cls, answer: Sequence[str]) -> Self:
        """Read the answer of `survey_queue.lua`."""
        places = tuple(map(int, answer[1::2]))
        stands_for = (place - before for place, before in zip(places, (0, *places), strict=False))
        work = accumulate(float(cost) * jobs for cost, jobs in zip(answer[2::2], stands_for, strict=True))
        return cls(places, tuple(work), float(answer[0]))

    def work_until(self, place: int, own_cost: float) -> float:
        """Cost of what is to be done until the job at `place` is: half of what runs, what is ahead of it, and itself.

        `own_cost` is for a place that was not there yet.
        """
        if place < 1:
            return self.begun / 2
        at = bisect_left(self.places, place)
        if at == len(self.places):
            last = self.places[-1] if self.places else 0
            return self.begun / 2 + (self.work[-1] if self.work else 0.0) + (place - last) * own_cost
        before, done = (self.places[at - 1], self.work[at - 1]) if at else (0, 0.0)
        share = (place - before) / (self.places[at] - before)
        return self.begun / 2 + done + share * (self.work[at] - done)


class Surveyor:
    """Looks at the queue of one Redis. May raise `redis.RedisError`."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._keys = [keys.waiting, keys.begun, keys.work]
        self._look = client.register_script(script("survey_queue"))

    def look(self, most: int = MOST_LOOKED_AT) -> QueueSurvey:
        """The queue as it is now, seen at `most` places at most."""
        return QueueSurvey.of(self._look(keys=self._keys, args=[most]))
