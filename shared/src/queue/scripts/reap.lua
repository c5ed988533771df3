-- Repairs Redis after a worker that is gone; the record already says what each job is now.
-- ARGV: worker, then for each job: job, "front", "suspect" (to the front too) or "gone", env, prio, needs.
-- Locks of the worker's jobs are released; the jobs go to the front of their queues, in the order given, or away.
local worker = ARGV[1]
for i = #ARGV - 4, 2, -5 do
  local job, fate, env, prio, wanted = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local removed = redis.call('LREM', processing_key(worker), 1, job)
  local where, _, _, _, detail = placed(job)
  -- A job that another worker has taken up since is not ours to move.
  local ours = not where or (where == 'processing' and detail == worker) or (where == 'queued' and removed == 1)
  local targets = lines(wanted)
  if not ours or fate == 'gone' then
    if ours then forget(job) end
    release(job, worker, targets)
  else
    set_needs(job, wanted)
    if fate == 'suspect' then redis.call('SADD', SUSPECTS, job) end
    hand_back(job, worker, env, prio, targets)
  end
end
return redis.call('LRANGE', processing_key(worker), 0, 999)
