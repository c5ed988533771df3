-- Admits jobs into the worker's hands: first those the blocking pop (or the own-list check) already moved to its
-- list, then more from the queue, up to `count` in all. One whose targets are held is parked behind the first of
-- them, all or none are locked.
-- ARGV: worker, env, count, lock TTL ms, then the elements already moved.
-- Answers pairs: element, the targets it now holds (one a line, or empty).
local worker, env, count, ttl = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local processing, answer, admitted = processing_key(worker), {}, 0

-- Whether the worker has a suspect in hand beside this job.
local function has_suspect(job)
  local list = redis.call('LRANGE', processing, 0, -1)
  for i = 1, #list do
    if list[i] ~= job and redis.call('SISMEMBER', SUSPECTS, list[i]) == 1 then return true end
  end
  return false
end

local function admit(job)
  local where, its_env, prio, _, detail = placed(job)
  if where == 'processing' and detail ~= worker and redis.call('LPOS', processing_key(detail), job) then
    -- A second copy: the job was put in line again while its first one lay unseen in a list. Another worker has it in
    -- hand; its place and its locks are not ours.
    redis.call('LREM', processing, 1, job)
    return
  end
  if not where then
    -- Redis was wiped, or this is no job at all. The record knows; the worker asks it.
    answer[#answer + 1], answer[#answer + 2] = job, ''
    admitted = admitted + 1
    return
  end
  local wanted = needs(job)
  if redis.call('SISMEMBER', SUSPECTS, job) == 1 and has_suspect(job) then
    redis.call('LREM', processing, 1, job)
    redis.call('ZADD', DELAYED, string.format('%d', now_ms() + APART_MS), job)
    place(job, 'delayed', its_env, prio, '-')
    release(job, 'granted', wanted)
    return
  end
  local held = held_by_other(job, wanted)
  if held then
    redis.call('LREM', processing, 1, job)
    -- All or none: what was kept for it goes on to others while it waits.
    release(job, 'granted', wanted)
    park(job, held, its_env, prio, false)
    return
  end
  lock_all(job, worker, wanted, ttl)
  place(job, 'processing', its_env, prio, worker)
  answer[#answer + 1], answer[#answer + 2] = job, table.concat(wanted, '\n')
  admitted = admitted + 1
end

for i = 5, #ARGV do
  -- Somebody else may have dealt with it since it was moved.
  if redis.call('LPOS', processing, ARGV[i]) then admit(ARGV[i]) end
end

-- Parking costs time too: a long run of jobs for one held target must not keep Redis from everybody else.
local looked = 0
while admitted < count and looked < count + 100 do
  local queue, from = queue_key(env), nil
  local head = redis.call('LINDEX', queue, -1)
  if head and is_high(head) then from = queue else from = high_key(env) end
  local job = redis.call('RPOPLPUSH', from, processing)
  if not job and from ~= queue then job = redis.call('RPOPLPUSH', queue, processing) end
  if not job then break end
  looked = looked + 1
  admit(job)
end
settle(env)
return answer
