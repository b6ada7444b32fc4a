-- Reads the cards of the live workers.
--
-- KEYS[1]   <prefix>workers:until           sorted set  names of workers, by the time until which they count, in
--                                                       milliseconds since the epoch, by Redis' own clock
-- KEYS[2]   <prefix>workers:cards           hash        by name: the worker's card, JSON
--
-- Answers a list of cards.

local expiries, cards = KEYS[1], KEYS[2]

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local live = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', expiries, '(' .. string.format('%.0f', now), '+inf')) do
    table.insert(live, redis.call('HGET', cards, name))
end
return live
