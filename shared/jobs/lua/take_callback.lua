-- Gives a webhook that is due to one worker; it is due again when the lease ends.
--
-- KEYS[1]   <prefix>callbacks:due           sorted set  jobs whose webhook is to be sent, by the time when it is due
-- KEYS[2]   <prefix>callbacks:attempts      hash        by job id: how often it was tried
--
-- ARGV[1]   time now, in seconds since the epoch
-- ARGV[2]   time at which the lease ends
--
-- Answers the job id and which attempt this is, from 1; nil where nothing is due.

local due, attempts = KEYS[1], KEYS[2]

local job = redis.call('ZRANGEBYSCORE', due, '-inf', ARGV[1], 'LIMIT', 0, 1)[1]
if not job then return false end
redis.call('ZADD', due, ARGV[2], job)
return {job, redis.call('HINCRBY', attempts, job, 1)}
