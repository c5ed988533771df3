-- Takes jobs that ended in the record out of wherever they wait. ARGV: jobs. One in a worker's hands is left to it.
for i = 1, #ARGV do
  local where = placed(ARGV[i])
  if where and where ~= 'processing' then withdraw(ARGV[i]) end
end
return 1
