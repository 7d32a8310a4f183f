-- Keep a task's output. ARGV 3 id, 4 token, 5 task id, 6 output, 7 bytes that all outputs may have.
-- Answers K, or N, L, Q record, or B size: it would be too much.
-- include prelude
local id, task, output = ARGV[3], ARGV[5], ARGV[6]
local meta = call('HGET', META, id)
local m = {match(meta or '', FIELDS)}
if not m[1] then
  return meta and 'Q' .. (call('HGET', QUARANTINE, id) or '') or call('HEXISTS', JOBS, id) == 1 and 'L' or 'N'
end
if m[TOKEN] ~= ARGV[4] then
  return 'L'
end
local size = (call('HGET', PROGRESS, '') or 0) + #output - call('HSTRLEN', PROGRESS, task)
if size > tonumber(ARGV[7]) then
  return 'B' .. format('%.0f', size)
end
call('HSET', PROGRESS, task, output, '', format('%.0f', size))
if m[FLAG] ~= 'p' then
  m[FLAG] = 'p'
  call('HSET', META, id, concat(m, ' '))
end
return 'K'
