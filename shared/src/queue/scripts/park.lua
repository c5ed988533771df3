-- Lets a running job wait for its targets without its worker. The record already says queued. If they came free in
-- the meantime, the job gets them and goes to the front of its queue.
-- ARGV: worker, job, env, prio, targets (one a line).
local worker, job, env, prio, wanted = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local targets = lines(wanted)
redis.call('LREM', processing_key(worker), 1, job)
set_needs(job, wanted)
local held = held_by_other(job, targets)
if held then
  -- All or none: what it held already goes on to others while it waits.
  release(job, worker, targets)
  park(job, held, env, prio, false)
else
  lock_all(job, 'granted', targets, GRANT_MS)
  push_front(job, env, prio)
end
return 1
