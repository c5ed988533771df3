-- Compares the worker's list with what it holds in memory. ARGV: worker, jobs it holds.
-- Answers what is in the list only (an abandoned pop moved it), and what is in memory only (Redis was wiped, or the job
-- has just left).
local held, present, strays, missing = {}, {}, {}, {}
local list = redis.call('LRANGE', processing_key(ARGV[1]), 0, -1)
for i = 2, #ARGV do held[ARGV[i]] = true end
for i = 1, #list do
  present[list[i]] = true
  if not held[list[i]] then strays[#strays + 1] = list[i] end
end
for i = 2, #ARGV do
  if not present[ARGV[i]] then missing[#missing + 1] = ARGV[i] end
end
return { strays, missing }
