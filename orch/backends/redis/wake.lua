-- Whoever is woken takes what is ready and wakes the next one, or learns how long to wait. An idle worker asks again
-- every two seconds, so if none did for much longer, none is waiting.
if now_s - idle < 10 then
  call('ZADD', WAKE, 0, 'w')
end
