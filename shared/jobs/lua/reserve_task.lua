-- Holds a taken task for an attempt that has not begun, with a lease, unless another attempt's lease is valid.
--
-- KEYS[1]   <prefix>backlog:taken           hash        by message id: `<job id>:<number>:<since>[:<token>]`
--
-- ARGV[1]   message id
-- ARGV[2]   task: `<job id>:<number>`
-- ARGV[3]   token of the attempt
-- ARGV[4]   how keys of the task's leases begin: `<prefix>lease:<job id>:<number>:`
-- ARGV[5]   how long the lease is valid, in milliseconds
--
-- Answers 1; 0, and nothing is written, where the message holds another task or none, or another attempt has a lease.
-- Reads the lease of the attempt named in KEYS[1], and writes that of ARGV[3].

local taken = KEYS[1]
local message, task, token, lease_prefix, milliseconds = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

local held = redis.call('HGET', taken, message)
if not held then return 0 end
local its_task, since, its_token = string.match(held, '^([^:]*:[^:]*):([^:]*):?(.*)$')
if its_task ~= task then return 0 end
if its_token ~= '' and its_token ~= token and redis.call('EXISTS', lease_prefix .. its_token) == 1 then return 0 end
redis.call('HSET', taken, message, task .. ':' .. since .. ':' .. token)
redis.call('SET', lease_prefix .. token, '1', 'PX', milliseconds)
return 1
