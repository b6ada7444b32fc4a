-- Reads the work of evenly spaced jobs of the queue, from which the work ahead of each place follows.
--
-- KEYS[1]   <prefix>backlog:jobs            sorted set  jobs of which no task has begun, in the order of the queue
-- KEYS[2]   <prefix>backlog:begun           set         open jobs of which a task was begun
-- KEYS[3]   <prefix>backlog:work            hash        by job: cost of its tasks that are not done
--
-- ARGV[1]   most jobs to look at, of KEYS[1] and of KEYS[2]
--
-- Answers a flat list: the work of all jobs in KEYS[2] (scaled up from those looked at); then for each place looked at
-- its number, from 1, and the work of the job there.

local waiting, begun, work = KEYS[1], KEYS[2], KEYS[3]
local most = tonumber(ARGV[1])

local jobs_waiting, jobs_begun = redis.call('ZCARD', waiting), redis.call('SCARD', begun)
local running = redis.call('SRANDMEMBER', begun, most)
local sum = 0
for _, job in ipairs(running) do
    sum = sum + (redis.call('HGET', work, job) or 0)
end
if #running > 0 then sum = sum * jobs_begun / #running end
local seen = {string.format('%.17g', sum)}
for at = 1, math.min(jobs_waiting, most) do
    local place = at
    if jobs_waiting > most then place = math.floor(at * jobs_waiting / most) end
    local job = redis.call('ZRANGE', waiting, place - 1, place - 1)[1]
    seen[#seen + 1] = string.format('%d', place)
    seen[#seen + 1] = redis.call('HGET', work, job) or '0'
end
return seen
