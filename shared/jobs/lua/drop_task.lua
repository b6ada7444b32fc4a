-- Lets a message go of its task, which needs no more work under this message.
--
-- KEYS[1]   <prefix>backlog:taken           hash        by message id: `<job id>:<number>:<since>[:<token>]`
--
-- ARGV[1]   message id
-- ARGV[2]   task: `<job id>:<number>`
-- ARGV[3]   token of the attempt that lets go; '': whatever attempt it was
--
-- Answers 1; 0, and nothing is written, where the message holds another task or none, or another attempt has the task.

local taken = KEYS[1]
local message, task, token = ARGV[1], ARGV[2], ARGV[3]

local held = redis.call('HGET', taken, message)
if not held then return 0 end
local its_task, its_token = string.match(held, '^([^:]*:[^:]*):[^:]*:?(.*)$')
if its_task ~= task or (token ~= '' and its_token ~= token) then return 0 end
return redis.call('HDEL', taken, message)
