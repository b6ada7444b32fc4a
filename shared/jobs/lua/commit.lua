-- Carries out commands if what they rest on is still so: compares every field that was read, then writes.
--
-- uses: uncharge
--
-- KEYS[1]   <prefix>job:<id>                hash        the job's record
--
-- ARGV[1]   how many fields were read
-- ARGV[2]   and up, for each of those: key of a hash, field, value ('': none)
--           then, for each command: how many words it has, and the words. The first word is a command of Redis, or the
--           name of a script used here; in that case the number of its keys, the keys and the arguments follow.
--
-- Answers what the commands answered, none of which may be nil; nil, and nothing is written, where a field has changed.

local scripts = {uncharge = uncharge}

local at = 2
for _ = 1, tonumber(ARGV[1]) do
    if (redis.call('HGET', ARGV[at], ARGV[at + 1]) or '') ~= ARGV[at + 2] then return false end
    at = at + 3
end
-- a Redis at its maxmemory refuses a script's first write only: this one makes nothing larger, and opens the way for
-- those that end a job, which then makes room
redis.call('HDEL', KEYS[1], '')
local answers = {}
while at <= #ARGV do
    local words, script = tonumber(ARGV[at]), scripts[ARGV[at + 1]]
    if script then
        local keys = tonumber(ARGV[at + 2])
        answers[#answers + 1] = script({unpack(ARGV, at + 3, at + 2 + keys)}, {unpack(ARGV, at + 3 + keys, at + words)})
    else
        answers[#answers + 1] = redis.call(unpack(ARGV, at + 1, at + words))
    end
    at = at + words + 1
end
return answers
