-- Where a job is and what it waits for. ARGV: job, how far into a list to look.
-- Answers place (or false), position counted from the next to be taken (-1: further than looked), needs, and for each
-- needed target its lock's value and remaining ms.
local job, far = ARGV[1], tonumber(ARGV[2])
local where, env, _, _, detail = placed(job)
if not where then return { false } end
local function position(key)
  return redis.call('LPOS', key, job, 'RANK', -1, 'MAXLEN', far)
end
local at = -1
if where == 'queued' then
  local ahead = redis.call('LLEN', high_key(env))
  local index = position(high_key(env))
  if index then
    at = ahead - 1 - index
    local head = redis.call('LINDEX', queue_key(env), -1)
    if head and is_high(head) then at = at + 1 end
  else
    index = position(queue_key(env))
    if index then
      at = redis.call('LLEN', queue_key(env)) - 1 - index
      if not (at == 0 and is_high(job)) then at = at + ahead end
    end
  end
elseif where == 'parked' then
  local index = position(parked_key(detail))
  if index then at = redis.call('LLEN', parked_key(detail)) - 1 - index end
end
local answer = { redis.call('HGET', PLACE, job), at }
local wanted = needs(job)
for i = 1, #wanted do
  answer[#answer + 1] = wanted[i]
  answer[#answer + 1] = redis.call('GET', lock_key(wanted[i])) or ''
  answer[#answer + 1] = redis.call('PTTL', lock_key(wanted[i]))
end
return answer
