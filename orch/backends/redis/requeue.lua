-- A failed job gets a fresh budget and a new ticket. ARGV 3 id. Answers meta \n record, or N, I place, Q, X.
-- include prelude
-- include job
local found = call('HMGET', META, '\0n', '\0token', '\0next', '\0idle', ARGV[3])
-- include recall
-- include changes
local id, meta = ARGV[3], found[5]
local m, raw = opened(id, meta, call('HGET', JOBS, id))
if not m then
  return raw
end
local from = m[PLACE]
if from == 'r' or from == 's' then
  return 'I' .. from
end
if from ~= 'f' then
  return meta .. '\n' .. raw
end
local error_at = m[HEAD_LEN] + 1
local comma = error_at + m[ERROR_LEN]
local tail = sub(raw, error_at, comma - 1) .. ',"result":null' .. sub(raw, comma + 10 + m[RESULT_LEN])
leave(id, m)
m[RESULT_LEN], m[FAILURES], m[CRASHES], m[FLAG] = 4, 0, 0, '-'
take_ticket(m)
local answer = enter(id, m, from, 'null', 'null', 'null', tail)
-- include numbers
flush()
call('UNLINK', PROGRESS)
-- include wake
return answer
