-- Move a cursor. ARGV 3 schedule key, 4 the tick it must be at, '' if it must be new, 5 the tick to move to.
-- include prelude
if (call('HGET', SCHEDULES, ARGV[3]) or '') ~= ARGV[4] then
  return 0
end
call('HSET', SCHEDULES, ARGV[3], ARGV[5])
return 1
