-- Finds targets that nobody holds although jobs are parked behind them (the lock expired with its worker) and hands
-- them on. Answers how many targets were handed on.
local targets, woken = redis.call('SMEMBERS', PARKED), 0
for i = 1, #targets do
  if redis.call('EXISTS', lock_key(targets[i])) == 0 then
    grant_next(targets[i])
    woken = woken + 1
  end
end
return woken
