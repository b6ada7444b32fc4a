-- Gives a message the queued task with the smallest start tag, and the same task again when the message comes again.
--
-- KEYS[1]   <prefix>backlog:rows:<variant>  sorted set  queued tasks `<job id>:<number>` by start tag
-- KEYS[2]   <prefix>backlog:taken           hash        by message id: `<job id>:<number>:<since>[:<token>]`, the task
--                                                       it holds, since when, and the attempt that works on it
-- KEYS[3]   <prefix>backlog:fair            hash        `now`: the virtual time, which becomes the task's start tag
--
-- ARGV[1]   message id
-- ARGV[2]   time now, in seconds since the epoch
-- ARGV[3]   how keys of job records begin: `<prefix>job:`
-- ARGV[4]   how many tasks to look through, where models are left to others
-- ARGV[5]   and up: models that are left to other workers
--
-- Answers what KEYS[2] then holds for the message; '' where only tasks for other workers wait; nil where none waits.
-- Reads the field `model` of the records of the tasks that it looks through.

local tasks, taken, fair = KEYS[1], KEYS[2], KEYS[3]
local message, now, record_prefix = ARGV[1], ARGV[2], ARGV[3]
local takes_every_model = #ARGV < 5

local function left_to_others(task)
    if takes_every_model then return false end
    local model = redis.call('HGET', record_prefix .. string.match(task, '^[^:]*'), 'model')
    for at = 5, #ARGV do
        if ARGV[at] == model then return true end
    end
    return false
end

local held = redis.call('HGET', taken, message)
if held then return left_to_others(held) and '' or held end
local first = redis.call('ZRANGE', tasks, 0, takes_every_model and 0 or ARGV[4] - 1, 'WITHSCORES')
for at = 1, #first, 2 do
    local task, tag = first[at], first[at + 1]
    if not left_to_others(task) then
        redis.call('ZREM', tasks, task)
        if tonumber(tag) > tonumber(redis.call('HGET', fair, 'now') or '0') then
            redis.call('HSET', fair, 'now', tag)
        end
        held = task .. ':' .. now
        redis.call('HSET', taken, message, held)
        return held
    end
end
return first[1] and '' or false
