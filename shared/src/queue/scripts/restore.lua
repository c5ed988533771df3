-- Puts jobs that a worker holds back into its list, after Redis forgot them. ARGV: worker, then for each: job, env, prio,
-- needs. One that has a place elsewhere is another's by now.
local worker = ARGV[1]
for i = 2, #ARGV, 4 do
  local job = ARGV[i]
  local where, _, _, _, detail = placed(job)
  if not where or (where == 'processing' and detail == worker) then
    redis.call('LREM', processing_key(worker), 1, job)
    redis.call('LPUSH', processing_key(worker), job)
    set_needs(job, ARGV[i + 3])
    place(job, 'processing', ARGV[i + 1], ARGV[i + 2], worker)
  end
end
return 1
