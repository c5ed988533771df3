-- What every script of the queue shares. It is put in front of each script before loading.
--
-- KEYS[1] is the fleet's prefix, "{fleet}:". All keys of a fleet live in one cluster slot through it, which is what
-- lets a script touch keys that it does not list.
--
-- A job's place is one string in the hash `place`:  "<where> <environment> <priority> <since, ms> <detail>"
--   where = queued | processing | parked | delayed, detail = worker or target, or "-".
-- The targets a job locks when it is taken are in the hash `needs`, one a line; most jobs have none.

local P = KEYS[1]
local PLACE, NEEDS, BOUNCES = P .. 'place', P .. 'needs', P .. 'bounces'
local PARKED, DELAYED, RESERVER = P .. 'parked', P .. 'delayed', P .. 'reserver'
-- Jobs that more than one worker died with. A worker takes one of them at a time: otherwise the one that kills its workers
-- would take those beside it along, each time, until all of them are in quarantine.
local SUSPECTS = P .. 'suspects'
-- How long a suspect waits when its worker has another in hand.
local APART_MS = 1000

-- How long a lock waits for the job it was handed to; then others get their turn.
local GRANT_MS = 30000
-- A job that was passed over this often reserves what is free (one such job at a time, so no two wait in a ring).
local PATIENCE = 3
local RESERVE_MS = 600000

local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function queue_key(env) return P .. 'queue:' .. env end
local function high_key(env) return P .. 'queue:' .. env .. ':high' end
local function processing_key(worker) return P .. 'processing:' .. worker end
local function lock_key(target) return P .. 'lock:instance:' .. target end
local function parked_key(target) return P .. 'parked:' .. target end

local function place(job, where, env, prio, detail)
  redis.call('HSET', PLACE, job, where .. ' ' .. env .. ' ' .. prio .. ' ' .. string.format('%d', now_ms()) .. ' ' .. detail)
end

-- where, env, prio, since, detail; nil for a job that has no place.
local function placed(job)
  local text = redis.call('HGET', PLACE, job)
  if not text then return nil end
  return string.match(text, '^(%S+) (%S+) (%S+) (%S+) (.*)$')
end

local function is_high(job)
  local _, _, prio = placed(job)
  return prio == '1'
end

local function forget(job)
  redis.call('HDEL', PLACE, job)
  redis.call('HDEL', NEEDS, job)
  redis.call('HDEL', BOUNCES, job)
  redis.call('SREM', SUSPECTS, job)
  if redis.call('GET', RESERVER) == job then redis.call('DEL', RESERVER) end
end

local function lines(text)
  local list = {}
  if text then
    for line in string.gmatch(text, '[^\n]+') do list[#list + 1] = line end
  end
  return list
end

local function needs(job) return lines(redis.call('HGET', NEEDS, job)) end

local function set_needs(job, text)
  if text ~= '' then redis.call('HSET', NEEDS, job, text) else redis.call('HDEL', NEEDS, job) end
end

-- A high job must never lie in the high list while workers block on an empty queue.
local function settle(env)
  if redis.call('LLEN', queue_key(env)) == 0 then redis.call('RPOPLPUSH', high_key(env), queue_key(env)) end
end

-- The back of the line. A high one goes where blocked workers look when nobody is ahead of it there.
local function push_back(job, env, prio)
  redis.call('LPUSH', prio == '1' and high_key(env) or queue_key(env), job)
  if prio == '1' then settle(env) end
  place(job, 'queued', env, prio, '-')
end

-- The front of the line of its own priority. Only the head of the queue may be a high one.
local function push_front(job, env, prio)
  local queue = queue_key(env)
  local head = redis.call('LINDEX', queue, -1)
  local high_head = head and is_high(head)
  if high_head then redis.call('RPOP', queue) end
  if prio == '1' then
    if high_head then redis.call('RPUSH', high_key(env), head) end
    redis.call('RPUSH', (head and not high_head) and high_key(env) or queue, job)
  else
    redis.call('RPUSH', queue, job)
    if high_head then redis.call('RPUSH', queue, head) end
  end
  place(job, 'queued', env, prio, '-')
end

-- Whether the lock's value names this job, under whatever owner: "<job>:<owner>".
local function is_of(value, job) return string.sub(value, 1, #job + 1) == job .. ':' end

-- The first of the targets that another job holds, or nil.
local function held_by_other(job, targets)
  for i = 1, #targets do
    local value = redis.call('GET', lock_key(targets[i]))
    if value and not is_of(value, job) then return targets[i] end
  end
  return nil
end

local function lock_all(job, owner, targets, ttl)
  for i = 1, #targets do redis.call('SET', lock_key(targets[i]), job .. ':' .. owner, 'PX', ttl) end
end

-- Behind the target. High ones wait before normal ones; `front` is for a job that had its turn and was passed on.
local function park(job, target, env, prio, front)
  local key = parked_key(target)
  if front then
    redis.call('RPUSH', key, job)
  elseif prio == '1' then
    local last, pivot = -1, redis.call('LINDEX', key, -1)
    while pivot and is_high(pivot) do
      last = last - 1
      pivot = redis.call('LINDEX', key, last)
    end
    if pivot then redis.call('LINSERT', key, 'AFTER', pivot, job) else redis.call('LPUSH', key, job) end
  else
    redis.call('LPUSH', key, job)
  end
  redis.call('SADD', PARKED, target)
  place(job, 'parked', env, prio, target)
end

-- Hands a free target to the next job parked behind it: that job gets all its locks and goes to the front of its
-- queue, or, if another of its targets is held, moves to the front of that one's line and the next one is asked.
-- On return the target is locked or nobody is parked behind it.
local function grant_next(target)
  local key, moved = parked_key(target), {}
  while true do
    local job = redis.call('RPOP', key)
    if not job then
      redis.call('SREM', PARKED, target)
      break
    end
    local where, env, prio, _, detail = placed(job)
    if where == 'parked' and detail == target then
      local wanted = needs(job)
      local other = held_by_other(job, wanted)
      if not other then
        lock_all(job, 'granted', wanted, GRANT_MS)
        redis.call('HDEL', BOUNCES, job)
        if redis.call('GET', RESERVER) == job then redis.call('DEL', RESERVER) end
        push_front(job, env, prio)
        break
      end
      moved[#moved + 1] = { job, other, env, prio }
      local reserver = redis.call('GET', RESERVER)
      if redis.call('HINCRBY', BOUNCES, job, 1) >= PATIENCE and (not reserver or reserver == job) then
        redis.call('SET', RESERVER, job, 'PX', RESERVE_MS)
        redis.call('SET', lock_key(target), job .. ':reserved', 'PX', RESERVE_MS)
        break
      end
    end
  end
  -- From the last to the first, so that each ends up before those that waited less.
  for i = #moved, 1, -1 do park(moved[i][1], moved[i][2], moved[i][3], moved[i][4], true) end
  if redis.call('LLEN', key) == 0 then redis.call('SREM', PARKED, target) end
end

-- Lets go of the targets that this job holds as `owner` (or holds without one) and hands each on. All are let go before
-- the first is handed on: who needs several of them and is first in line gets them.
local function release(job, owner, targets)
  for i = 1, #targets do
    local value = redis.call('GET', lock_key(targets[i]))
    if value and (value == job .. ':' .. owner or value == job .. ':granted' or value == job .. ':reserved') then
      redis.call('DEL', lock_key(targets[i]))
    end
  end
  for i = 1, #targets do
    if redis.call('EXISTS', lock_key(targets[i])) == 0 then grant_next(targets[i]) end
  end
end

-- Back to the front of its line with its targets kept for it: what it left half done on them should be the next thing
-- that happens there. If another has one of them by now, it keeps none: it will have to park.
local function hand_back(job, owner, env, prio, targets)
  if held_by_other(job, targets) then release(job, owner, targets) else lock_all(job, 'granted', targets, GRANT_MS) end
  push_front(job, env, prio)
end

-- Takes a job out of wherever it waits. Locks that were already handed to it go on to the next.
local function withdraw(job)
  local where, env, _, _, detail = placed(job)
  local wanted = needs(job)
  if where == 'queued' then
    if redis.call('LREM', queue_key(env), 1, job) == 0 then redis.call('LREM', high_key(env), 1, job) end
    settle(env)
  elseif where == 'parked' then
    redis.call('LREM', parked_key(detail), 1, job)
    if redis.call('LLEN', parked_key(detail)) == 0 then redis.call('SREM', PARKED, detail) end
  elseif where == 'delayed' then
    redis.call('ZREM', DELAYED, job)
  end
  forget(job)
  release(job, 'granted', wanted)
end
