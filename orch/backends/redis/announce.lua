-- What a worker says of itself, as JSON; a beat. ARGV 3 worker, 4 what it says, 5 us of silence after which a worker
-- is forgotten even if nobody asks for the list.
-- include prelude
call('HSET', ANNOUNCED, ARGV[3], ARGV[4])
call('ZADD', WORKERS, format('%.0f', now), ARGV[3])
local dead = call('ZRANGEBYSCORE', WORKERS, '-inf', '(' .. format('%.0f', now - ARGV[5]), 'LIMIT', 0, 100)
for i = 1, #dead do
  call('ZREM', WORKERS, dead[i])
  call('HDEL', ANNOUNCED, dead[i])
end
return 1
