-- Moves delayed jobs whose time has come into their queues. ARGV: how many at most. Answers how many.
local due = redis.call('ZRANGE', DELAYED, '-inf', string.format('%d', now_ms()), 'BYSCORE', 'LIMIT', 0, tonumber(ARGV[1]))
for i = 1, #due do
  redis.call('ZREM', DELAYED, due[i])
  local where, env, prio = placed(due[i])
  if where == 'delayed' then push_back(due[i], env, prio) end
end
return #due
