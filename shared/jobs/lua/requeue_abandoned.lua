-- Queues a task again, as the next one, that a message holds while no worker works on it.
--
-- KEYS[1]   <prefix>backlog:rows:<variant>  sorted set  queued tasks `<job id>:<number>` by start tag
-- KEYS[2]   <prefix>backlog:taken           hash        by message id: `<job id>:<number>:<since>[:<token>]`
-- KEYS[3]   <prefix>backlog:fair            hash        `now`: the virtual time, the task's new start tag
--
-- ARGV[1]   message id
-- ARGV[2]   what KEYS[2] held for the message when the task was found to be abandoned
-- ARGV[3]   task: `<job id>:<number>`
--
-- Answers 1; 0, and nothing is written, where the message has come after all or the task was queued by another worker.

local tasks, taken, fair = KEYS[1], KEYS[2], KEYS[3]
local message, held, task = ARGV[1], ARGV[2], ARGV[3]

if redis.call('HGET', taken, message) ~= held then return 0 end
redis.call('HDEL', taken, message)
redis.call('ZADD', tasks, redis.call('HGET', fair, 'now') or '0', task)
return 1
