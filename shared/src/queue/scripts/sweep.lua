-- A part of the hash of places, for comparing it with the record. ARGV: cursor, how many. Answers cursor and jobs.
local page = redis.call('HSCAN', PLACE, ARGV[1], 'COUNT', ARGV[2])
local jobs = {}
for i = 1, #page[2], 2 do jobs[#jobs + 1] = page[2][i] end
return { page[1], jobs }
