-- Renews a worker's entry in the register, and removes those of dead workers. Times are of Redis' own clock, the one
-- that all workers share.
--
-- KEYS[1]   <prefix>workers:until           sorted set  names of workers, by the time until which they count, in
--                                                       milliseconds since the epoch
-- KEYS[2]   <prefix>workers:cards           hash        by name: the worker's card, JSON
--
-- ARGV[1]   name
-- ARGV[2]   card
-- ARGV[3]   how long the entry counts, in milliseconds

local expiries, cards = KEYS[1], KEYS[2]
local name, card, milliseconds = ARGV[1], ARGV[2], ARGV[3]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for _, dead in ipairs(redis.call('ZRANGEBYSCORE', expiries, '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', expiries, dead)
    redis.call('HDEL', cards, dead)
end
redis.call('ZADD', expiries, string.format('%.0f', now + milliseconds), name)
redis.call('HSET', cards, name, card)
-- no card outlives the last worker that renewed its own
for _, key in ipairs(KEYS) do
    if redis.call('PTTL', key) < tonumber(milliseconds) then redis.call('PEXPIRE', key, milliseconds) end
end
