-- Locks further targets for a job that already runs: all or none. ARGV: worker, job, TTL ms, targets (one a line).
-- Answers 1, or 0 when one is held.
local worker, job, ttl, wanted = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local targets = lines(wanted)
if held_by_other(job, targets) then return 0 end
lock_all(job, worker, targets, ttl)
set_needs(job, wanted)
return 1
