-- Puts elements that are no job ids aside with their raw bytes, where a person can look at them. ARGV: worker, the
-- most to keep, elements.
local key = P .. 'quarantine'
for i = 3, #ARGV do
  redis.call('LREM', processing_key(ARGV[1]), 1, ARGV[i])
  redis.call('LPUSH', key, ARGV[i])
end
redis.call('LTRIM', key, 0, tonumber(ARGV[2]) - 1)
return redis.call('LLEN', key)
