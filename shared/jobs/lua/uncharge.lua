-- Takes back what an owner was charged for the tasks of a job that nobody took (shared/jobs/fair_shares.py): the tasks
-- of the owner behind them move up by their cost. The end of the last open job ends the busy period, and with it all
-- charges. Runs when the job ends, before it and its tasks leave the queue.
--
-- KEYS[1]   <prefix>backlog:rows:<variant>  sorted set  queued tasks of the job's variant, by start tag
-- KEYS[2]   <prefix>backlog:jobs            sorted set  jobs of which no task has begun, by first start tag
-- KEYS[3]   <prefix>backlog:fair            hash        `now`: the virtual time; `ends:<owner>`: where the owner's last
--                                                       task ends in virtual time
-- KEYS[4]   <prefix>backlog:owner:<owner>   sorted set  the owner's open jobs, by first start tag
-- KEYS[5]   <prefix>backlog:open            sorted set  all open jobs
--
-- ARGV[1]   job id
-- ARGV[2]   number of tasks
-- ARGV[3]   cost of one task
-- ARGV[4]   owner
-- ARGV[5]   how keys of job records begin: `<prefix>job:`
-- ARGV[6]   how keys of queued tasks begin: `<prefix>backlog:rows:`
-- ARGV[7]   most tasks to move
--
-- Answers how many tasks nobody took; 0 where the busy period ends. Reads the field `line` of the owner's records:
-- `<variant> <number of tasks>`.

local tasks, waiting, fair, owned, open = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local job, count, cost, owner = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local record_prefix, tasks_prefix, most_moved = ARGV[5], ARGV[6], tonumber(ARGV[7])

local function number(text) return tonumber(text or '0') end

redis.call('HDEL', fair, '')  -- a first write that a full memory lets pass, and with it all that follow
if redis.call('ZCARD', open) == 1 and redis.call('ZSCORE', open, job) then
    redis.call('DEL', fair)
    return 0
end
local left, first = 0, nil
for at = 0, count - 1 do
    local tag = redis.call('ZSCORE', tasks, job .. ':' .. string.format('%d', at))
    if tag then
        left = left + 1
        if not first or tonumber(tag) < first then first = tonumber(tag) end
    end
end
local tag = redis.call('ZSCORE', owned, job)
if left == 0 or not tag then return 0 end

local charged = left * cost
local back = string.format('%.17g', -charged)
local behind = redis.call('ZRANGEBYSCORE', owned, '(' .. tag, '+inf', 'LIMIT', 0, most_moved + 1)
local moved, all = 0, true
for _, other in ipairs(behind) do
    local line = redis.call('HGET', record_prefix .. other, 'line') or 'any 0'
    local variant, its_count = string.match(line, '^(%S+) (%d+)$')
    moved = moved + math.max(1, tonumber(its_count))
    if moved > most_moved then
        all = false
        break
    end
    local its_tasks = tasks_prefix .. variant
    for at = 0, its_count - 1 do
        local name = other .. ':' .. string.format('%d', at)
        local its_tag = redis.call('ZSCORE', its_tasks, name)
        if its_tag and tonumber(its_tag) > first then redis.call('ZINCRBY', its_tasks, back, name) end
    end
    if redis.call('ZSCORE', waiting, other) then redis.call('ZINCRBY', waiting, back, other) end
    redis.call('ZINCRBY', owned, back, other)
end
if all then
    local now, ends = number(redis.call('HGET', fair, 'now')), 'ends:' .. owner
    local owed = number(redis.call('HGET', fair, ends)) - charged
    -- of an owner without any other job, no more can have been taken than the task that was due last
    if redis.call('ZCARD', owned) == 1 then owed = math.min(owed, now + cost) end
    if owed > now then
        redis.call('HSET', fair, ends, string.format('%.17g', owed))
    else
        redis.call('HDEL', fair, ends)
    end
end
return left
