"""What an owner is charged for: work that a worker took, and never work that was cancelled before.

In the line (`shared/jobs/backlog.py`) every task has a tag, one task's cost behind the one before of the same owner.
When a job ends with tasks that nobody took, the tasks of its owner behind it move up by their cost, and so does the
place at which the owner's next job will stand. At most a thousand tasks move, so that no ending takes long; what is
further behind keeps its tag, and the gap before it closes as the jobs ahead of it end.
"""

from dataclasses import dataclass
from typing import Any

_MOST_MOVED = 1000

# KEYS: the tasks of the job's variant, the waiting jobs, the fair clock, the owner's open jobs by their first tag
# ARGV: job id, tasks, cost of a task, owner, how record keys begin, how keys of tasks begin, most tasks to move
UNCHARGE = """
redis.call('HDEL', KEYS[3], '')  -- a first write that a full memory lets pass, and with it all that follow
local function number(text) return tonumber(text or '0') end
local left, first = 0, nil
for row = 0, ARGV[2] - 1 do
    local tag = redis.call('ZSCORE', KEYS[1], ARGV[1] .. ':' .. string.format('%d', row))
    if tag then
        left = left + 1
        if not first or tonumber(tag) < first then first = tonumber(tag) end
    end
end
local tag = redis.call('ZSCORE', KEYS[4], ARGV[1])
if left == 0 or not tag then return 0 end
local charged = left * ARGV[3]
local back = string.format('%.17g', -charged)
local behind = redis.call('ZRANGEBYSCORE', KEYS[4], '(' .. tag, '+inf', 'LIMIT', 0, ARGV[7] + 1)
local moved, all = 0, true
for _, job in ipairs(behind) do
    local variant, rows = string.match(redis.call('HGET', ARGV[5] .. job, 'line') or 'any 0', '^(%S+) (%d+)$')
    moved = moved + math.max(1, tonumber(rows))
    if moved > tonumber(ARGV[7]) then
        all = false
        break
    end
    local line = ARGV[6] .. variant
    for row = 0, rows - 1 do
        local name = job .. ':' .. string.format('%d', row)
        local its = redis.call('ZSCORE', line, name)
        if its and tonumber(its) > first then redis.call('ZINCRBY', line, back, name) end
    end
    if redis.call('ZSCORE', KEYS[2], job) then redis.call('ZINCRBY', KEYS[2], back, job) end
    redis.call('ZINCRBY', KEYS[4], back, job)
end
if all then
    local now, ends = number(redis.call('HGET', KEYS[3], 'now')), 'ends:' .. ARGV[4]
    local owed = number(redis.call('HGET', KEYS[3], ends)) - charged
    -- of an owner without any other job, no more can have been taken than the row that was due last
    if redis.call('ZCARD', KEYS[4]) == 1 then owed = math.min(owed, now + ARGV[3]) end
    if owed > now then
        redis.call('HSET', KEYS[3], ends, string.format('%.17g', owed))
    else
        redis.call('HDEL', KEYS[3], ends)
    end
end
return left
"""


@dataclass(frozen=True)
class FairShares:
    """How the keys of the line are named: waiting jobs, fair clock; and how those of tasks and of records begin."""

    waiting: str
    clock: str
    tasks_prefix: str
    record_prefix: str
    most_moved: int = _MOST_MOVED

    def uncharge(
        self, pipe: Any, job_id: str, tasks: int, task_cost: float, variant: str, owner: str, owned: str
    ) -> None:
        """In the transaction that ends a job, before its tasks leave the line; `owned`: the key of the owner's jobs."""
        keys = [f"{self.tasks_prefix}{variant}", self.waiting, self.clock, owned]
        words = [job_id, tasks, task_cost, owner, self.record_prefix, self.tasks_prefix, self.most_moved]
        pipe.eval(UNCHARGE, len(keys), *keys, *words)


def of_line(variant: str, tasks: int) -> str:
    """What the record keeps, in its field `line`, for those who move its tasks."""
    return f"{variant} {tasks}"
