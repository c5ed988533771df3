-- How much waits where. ARGV: environments. Answers normal and high length for each, then parked, delayed, quarantine.
local answer = {}
for i = 1, #ARGV do
  answer[#answer + 1] = redis.call('LLEN', queue_key(ARGV[i]))
  answer[#answer + 1] = redis.call('LLEN', high_key(ARGV[i]))
end
local parked, targets = 0, redis.call('SMEMBERS', PARKED)
for i = 1, #targets do parked = parked + redis.call('LLEN', parked_key(targets[i])) end
answer[#answer + 1] = parked
answer[#answer + 1] = redis.call('ZCARD', DELAYED)
answer[#answer + 1] = redis.call('LLEN', P .. 'quarantine')
return answer
