-- The way out for every claimed job. Takes it from the worker's list, lets its targets go and hands each to the next.
-- ARGV: worker, then for each job: job, what next, env, prio, targets it may hold (one a line).
-- What next: "gone", "front" (back in line at once), or the delay in ms.
local worker = ARGV[1]
for i = 2, #ARGV, 5 do
  local job, fate, env, prio, held = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  redis.call('LREM', processing_key(worker), 1, job)
  local where, _, _, _, detail = placed(job)
  -- If it is placed elsewhere, it is another's by now: its place is not ours to change, only our locks are.
  local ours = not where or (where == 'processing' and detail == worker)
  local targets = lines(held)
  if fate == 'front' and ours then
    hand_back(job, worker, env, prio, needs(job))
  else
    if ours and fate == 'gone' then
      forget(job)
    elseif ours then
      redis.call('ZADD', DELAYED, string.format('%d', now_ms() + tonumber(fate)), job)
      place(job, 'delayed', env, prio, '-')
    end
    release(job, worker, targets)
  end
end
return 1
