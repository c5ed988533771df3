-- Which of these queued jobs are where their place says. ARGV: jobs. Answers 1 or 0 for each; a place that cannot be
-- true (the list it names does not hold the job) is forgotten, so that the job can be put in line again.
-- A long list is taken at its word: only an empty one proves that the job is not in it. Even then a blocking pop may have
-- moved it to a worker's list just now, unseen by that worker yet: a queued one is forgotten only when the next look finds
-- it so again.
local answer, filled = {}, {}
local function holds_any(key)
  if filled[key] == nil then filled[key] = redis.call('LLEN', key) > 0 end
  return filled[key]
end
local texts = redis.call('HMGET', PLACE, unpack(ARGV))
for i = 1, #ARGV do
  local job, there = ARGV[i], false
  if texts[i] then
    local where, env, prio, _, detail = string.match(texts[i], '^(%S+) (%S+) (%S+) (%S+) (.*)$')
    if where == 'queued' then
      there = holds_any(queue_key(env)) or holds_any(high_key(env))
      if not there and detail == '-' then
        there = true
        place(job, 'queued', env, prio, 'missing')
      end
    elseif where == 'processing' then
      there = redis.call('LPOS', processing_key(detail), job)
    elseif where == 'parked' then
      there = holds_any(parked_key(detail))
    elseif where == 'delayed' then
      there = redis.call('ZSCORE', DELAYED, job)
    end
    if not there then forget(job) end
  end
  answer[i] = there and 1 or 0
end
return answer
