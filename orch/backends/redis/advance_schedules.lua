-- Move cursors. ARGV from 3, for each: schedule key, '=' and the tick it must be at or '' if it must be new, the tick to
-- move to. Answers of each whether it moved.
-- include prelude
local moved = {}
for i = 3, #ARGV, 3 do
  local tick = call('HGET', SCHEDULES, ARGV[i])
  if (tick and '=' .. tick or '') == ARGV[i + 1] then
    call('HSET', SCHEDULES, ARGV[i], ARGV[i + 2])
    moved[#moved + 1] = 1
  else
    moved[#moved + 1] = 0
  end
end
return moved
