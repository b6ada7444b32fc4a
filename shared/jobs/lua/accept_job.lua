-- Accepts a job as a whole, or not at all: writes its record, queues its tasks, counts it.
--
-- Every task gets a start tag, its score in the queue: where its owner's last task ends in virtual time, or the virtual
-- time now if that is later (shared/jobs/backlog.py). `<prefix>` is KEY_PREFIX.
--
-- KEYS[1]   <prefix>job:<id>                hash        the job's record: none yet
-- KEYS[2]   <prefix>backlog:rows:<variant>  sorted set  queued tasks `<job id>:<number>` by start tag
-- KEYS[3]   <prefix>backlog:jobs            sorted set  jobs of which no task has begun, by first start tag
-- KEYS[4]   <prefix>backlog:fair            hash        `now`: the virtual time; `ends:<owner>`: where the owner's last
--                                                       task ends in virtual time
-- KEYS[5]   <prefix>backlog:work            hash        by job: cost of its tasks that are not done
-- KEYS[6]   <prefix>backlog:owner:<owner>   sorted set  the owner's open jobs, by first start tag
-- KEYS[7]   <prefix>backlog:open            sorted set  all open jobs, by the time at which they are overdue
-- KEYS[8]   <prefix>backlog:kept            sorted set  `<bytes>:<job id>:<owner>` of every record, by the time when it
--                                                       expires; +inf while the job is open
-- KEYS[9]   <prefix>backlog:bytes           hash        by owner: bytes of the records in KEYS[8]
--
-- ARGV[1]   job id
-- ARGV[2]   number of tasks
-- ARGV[3]   cost of one task
-- ARGV[4]   owner
-- ARGV[5]   time now, in seconds since the epoch
-- ARGV[6]   most jobs that may wait; 0: no bound
-- ARGV[7]   most open jobs of one owner; 0: no bound
-- ARGV[8]   time at which the job is overdue
-- ARGV[9]   bytes of the record
-- ARGV[10]  most bytes of one owner's records; 0: no bound
-- ARGV[11]  and up: fields of the record, each a name and a value
--
-- Answers 'accepted', 'known' (the record is there already), 'queue full', 'owner full' or 'owner over' (its bytes).

local record, tasks, waiting, fair, work = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local owned, open, kept, bytes = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local job, count, cost, owner, now = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local most_waiting, most_owned, overdue = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8]
local size, most_bytes = ARGV[9], tonumber(ARGV[10])

if redis.call('EXISTS', record) == 1 then return 'known' end
if most_waiting > 0 and redis.call('ZCARD', waiting) >= most_waiting then return 'queue full' end
if most_owned > 0 and redis.call('ZCARD', owned) >= most_owned then return 'owner full' end

local function forget_expired()
    for _, entry in ipairs(redis.call('ZRANGEBYSCORE', kept, '-inf', now, 'LIMIT', 0, 100)) do
        local its_bytes, its_owner = string.match(entry, '^(%d+):[^:]*:(.*)$')
        redis.call('ZREM', kept, entry)
        if redis.call('HINCRBY', bytes, its_owner, -its_bytes) <= 0 then redis.call('HDEL', bytes, its_owner) end
    end
end
local function owner_is_over()
    return most_bytes > 0 and tonumber(redis.call('HGET', bytes, owner) or '0') + size > most_bytes
end
if owner_is_over() then forget_expired() end
if owner_is_over() then return 'owner over' end

local ends = 'ends:' .. owner
local virtual_now = tonumber(redis.call('HGET', fair, 'now') or '0')
local tag = math.max(virtual_now, tonumber(redis.call('HGET', fair, ends) or '0'))
-- the first write is one that a Redis without memory refuses: then nothing of the job is there
redis.call('HSET', record, unpack(ARGV, 11))
redis.call('ZADD', waiting, string.format('%.17g', tag), job)
redis.call('ZADD', owned, string.format('%.17g', tag), job)
redis.call('ZADD', open, overdue, job)
redis.call('HSET', work, job, count * cost)
for number = 0, count - 1 do
    redis.call('ZADD', tasks, string.format('%.17g', tag), job .. ':' .. string.format('%d', number))
    tag = tag + cost
end
redis.call('HSET', fair, ends, string.format('%.17g', tag))
redis.call('ZADD', kept, '+inf', size .. ':' .. job .. ':' .. owner)
redis.call('HINCRBY', bytes, owner, size)
forget_expired()
return 'accepted'
