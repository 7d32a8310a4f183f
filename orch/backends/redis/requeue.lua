-- A failed job gets a fresh budget and a new ticket. ARGV 3 id. Answers meta \n record, or N, I place, Q, X.
local id = ARGV[3]
local m, raw, _, _, _, error_at = read(id)
if not m then
  return raw
end
local from = m[PLACE]
if from == 'r' or from == 's' then
  return 'I' .. from
end
if from == 'f' then
  local comma = error_at + m[ELEN]
  local tail = sub(raw, error_at, comma - 1) .. ',"result":null' .. sub(raw, comma + 10 + m[RLEN])
  m[RLEN], m[FAILURES], m[CRASHES], m[FLAG] = 4, 0, 0, '-'
  take_ticket(m)
  raw = record(m, 'null', 'null', 'null', tail)
  call('HSET', JOBS, id, raw)
  call('HSET', META, id, concat(m, ' '))
  relist(id, m, from)
  call('ZREM', FINISHED, id)
  call('UNLINK', PROGRESS)
  place(id, m)
  wake()
end
return concat(m, ' ') .. '\n' .. raw
