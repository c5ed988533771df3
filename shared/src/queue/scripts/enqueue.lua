-- Puts jobs in line; one that already has a place is left there. ARGV: job, env, prio, needs, delay ms, for each job.
-- Answers 1 or 0 for each: put in line, or known.
local answer = {}
for i = 1, #ARGV, 5 do
  local job, env, prio, wanted, delay = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], tonumber(ARGV[i + 4])
  if redis.call('HEXISTS', PLACE, job) == 1 then
    answer[#answer + 1] = 0
  else
    set_needs(job, wanted)
    if delay > 0 then
      redis.call('ZADD', DELAYED, string.format('%d', now_ms() + delay), job)
      place(job, 'delayed', env, prio, '-')
    else
      push_back(job, env, prio)
    end
    answer[#answer + 1] = 1
  end
end
return answer
