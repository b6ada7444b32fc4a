-- Queues a task, as the next one, that is neither done nor queued nor taken nor worked on.
--
-- KEYS[1]   <prefix>job:<id>                        hash        the job's record: `state`, `row:<number>`
-- KEYS[2]   <prefix>lease:<job id>:<number>:<token> string      there while the task's last attempt has its lease
-- KEYS[3]   <prefix>backlog:rows:<variant>          sorted set  queued tasks `<job id>:<number>` by start tag
-- KEYS[4]   <prefix>backlog:taken                   hash        by message id: `<job id>:<number>:<since>[:<token>]`
-- KEYS[5]   <prefix>backlog:fair                    hash        `now`: the virtual time, the task's start tag
--
-- ARGV[1]   task: `<job id>:<number>`
-- ARGV[2]   its field in the record: `row:<number>`
-- ARGV[3]   what that field held when the task was found; '': nothing
--
-- Answers 1; 0, and nothing is written, where any of this is not so any more.

local record, lease, tasks, taken, fair = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local task, field, text = ARGV[1], ARGV[2], ARGV[3]

local state = redis.call('HGET', record, 'state')
if state ~= 'PENDING' and state ~= 'PROGRESS' then return 0 end
if (redis.call('HGET', record, field) or '') ~= text then return 0 end
if redis.call('EXISTS', lease) == 1 or redis.call('ZSCORE', tasks, task) then return 0 end
local held_by_a_message = task .. ':'
for _, held in ipairs(redis.call('HVALS', taken)) do
    if string.sub(held, 1, #held_by_a_message) == held_by_a_message then return 0 end
end
redis.call('HDEL', record, '')  -- the first write: see commit.lua
redis.call('ZADD', tasks, redis.call('HGET', fair, 'now') or '0', task)
return 1
