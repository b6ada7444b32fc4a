-- Finds the tasks of an open job that are neither done nor queued.
--
-- KEYS[1]   <prefix>job:<id>                hash        the job's record: `state`, and `row:<number>` for each task
--                                                       that was begun
-- KEYS[2]   <prefix>backlog:rows:<variant>  sorted set  queued tasks `<job id>:<number>`
--
-- ARGV[1]   job id
-- ARGV[2]   number of tasks
--
-- Answers a flat list: for each task found its number and what the record has of it ('' where it has nothing). Where
-- all tasks are done and only the closing is left, that is task 0. The list of a job that has ended is empty.

local record, tasks = KEYS[1], KEYS[2]
local job, count = ARGV[1], tonumber(ARGV[2])

local state = redis.call('HGET', record, 'state')
if state ~= 'PENDING' and state ~= 'PROGRESS' then return {} end
local loose, first, done = {}, '', 0
for number = 0, count - 1 do
    local name = string.format('%d', number)
    local text = redis.call('HGET', record, 'row:' .. name) or ''
    if number == 0 then first = text end
    if text ~= '' and cjson.decode(text).state == 'done' then
        done = done + 1
    elseif not redis.call('ZSCORE', tasks, job .. ':' .. name) then
        loose[#loose + 1] = name
        loose[#loose + 1] = text
    end
end
if done == count then return {'0', first} end
return loose
