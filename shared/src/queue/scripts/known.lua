-- Which of these queued jobs are where their place says. ARGV: jobs. Answers 1 or 0 for each; a place that cannot be
-- true (the list it names does not hold the job) is forgotten, so that the job can be put in line again.
-- A long queue is taken at its word: only an empty one proves that the job is not in it.
local answer = {}
for i = 1, #ARGV do
  local job = ARGV[i]
  local where, env, _, _, detail = placed(job)
  local there
  if where == 'queued' then
    there = redis.call('LLEN', queue_key(env)) > 0 or redis.call('LLEN', high_key(env)) > 0
  elseif where == 'processing' then
    there = redis.call('LPOS', processing_key(detail), job)
  elseif where == 'parked' then
    there = redis.call('LLEN', parked_key(detail)) > 0
  elseif where == 'delayed' then
    there = redis.call('ZSCORE', DELAYED, job)
  end
  if where and not there then forget(job) end
  answer[i] = there and 1 or 0
end
return answer
