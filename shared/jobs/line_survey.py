"""How much work stands before each place of the line, from a look at a few hundred of its jobs.

To sum what is ahead of one job takes time that grows with the line, and every poll of a waiting job asks for it. So the
line is looked at once in a while, at evenly spaced places, each of which stands for those up to the one before it. A
line of no more jobs than that is known exactly.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Self

MOST_LOOKED_AT = 500

# KEYS: the waiting jobs, those that have begun, work to do; ARGV: most jobs to look at of each
_LOOK = """
local waiting, begun, most = redis.call('ZCARD', KEYS[1]), redis.call('SCARD', KEYS[2]), tonumber(ARGV[1])
local running = redis.call('SRANDMEMBER', KEYS[2], most)
local sum = 0
for _, job in ipairs(running) do
    sum = sum + (redis.call('HGET', KEYS[3], job) or 0)
end
if #running > 0 then sum = sum * begun / #running end
local seen = {string.format('%.17g', sum)}
for at = 1, math.min(waiting, most) do
    local place = at
    if waiting > most then place = math.floor(at * waiting / most) end
    local job = redis.call('ZRANGE', KEYS[1], place - 1, place - 1)[1]
    seen[#seen + 1] = string.format('%d', place)
    seen[#seen + 1] = redis.call('HGET', KEYS[3], job) or '0'
end
return seen
"""


@dataclass(frozen=True)
class LineSurvey:
    """The places looked at, from 1; the cost of all waiting jobs up to each of them; and of what has begun."""

    places: tuple[int, ...]
    work: tuple[float, ...]
    begun: float

    @classmethod
    def of(cls, answer: Sequence[str]) -> Self:
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
    """Looks at the line of one Redis. May raise `redis.RedisError`."""

    def __init__(self, client: Any, waiting: str, begun: str, work: str) -> None:
        """The keys of the waiting jobs in order, of those that have begun, and of the work each job still is."""
        self._keys = [waiting, begun, work]
        self._look = client.register_script(_LOOK)

    def look(self, most: int = MOST_LOOKED_AT) -> LineSurvey:
        return LineSurvey.of(self._look(keys=self._keys, args=[most]))
