-- Which job a try of a request stands for: a first try for its own, a retry for the newest earlier one that no retry of
-- its count has joined yet, so that the retries of two equal requests get a job each.
--
-- KEYS[1]   <prefix>tries:<name>            sorted set  jobs of equal requests, by the count of the last retry that
--                                                       stands for it, then by the time of it
--
-- ARGV[1]   how often the client has tried before: 0 for a first try
-- ARGV[2]   id of the job, should the try be a new one
-- ARGV[3]   time now, in seconds since the epoch
-- ARGV[4]   for how many seconds the tries are remembered
-- ARGV[5]   how many are remembered
--
-- Answers the id of the job.

-- more than seconds since the epoch, and with a count of up to 999 still exact to the millisecond
local unit = 10000000000
local tries, count, job, now = KEYS[1], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])

if count > 0 then
    local earlier = redis.call('ZREVRANGEBYSCORE', tries, string.format('(%.17g', count * unit), '-inf', 'LIMIT', 0, 1)
    if #earlier == 0 then earlier = redis.call('ZREVRANGE', tries, 0, 0) end
    job = earlier[1] or job
end
redis.call('ZADD', tries, string.format('%.17g', count * unit + now), job)
redis.call('ZREMRANGEBYRANK', tries, 0, -1 - ARGV[5])
redis.call('EXPIRE', tries, ARGV[4])
return job
