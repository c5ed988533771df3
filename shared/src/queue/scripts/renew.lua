-- Proves that the worker lives and its jobs hold their targets. A lock that expired is taken again if nobody else has
-- it: whether that is still safe, the epoch in the record decides, not Redis. A job without a place has just left, or
-- Redis was wiped and the check of the list is about to put it back: until then nothing is taken for it.
-- ARGV: worker, worker TTL ms, lock TTL ms, then pairs: job, target. Answers 0 for each pair that another holds.
local worker, alive, ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('SET', P .. 'worker:' .. worker, string.format('%d', now_ms()), 'PX', alive)
local answer = {}
for i = 4, #ARGV, 2 do
  local key, mine = lock_key(ARGV[i + 1]), ARGV[i] .. ':' .. worker
  local value = redis.call('GET', key)
  if value and value ~= mine then
    answer[#answer + 1] = 0
  else
    local where, _, _, _, detail = placed(ARGV[i])
    if value or (where == 'processing' and detail == worker) then redis.call('SET', key, mine, 'PX', ttl) end
    answer[#answer + 1] = 1
  end
end
return answer
