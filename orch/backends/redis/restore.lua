-- Bring a readable record that was not written by these scripts into their form, if it still is as the client saw it.
-- ARGV 3 id, 4 the record, 5 esec, 6 eus, 7 priority, 8 max_retries, 9 attempts, 10 failures, 11 crashes, 12 its state
-- (p r s f), 13 started, 14 finished as JSON, 15 finished in us, 16 not_before as JSON, 17 due s or '-', 18 due us,
-- 19 error JSON, 20 result JSON, 21 the rest. Answers 1 if it did.
-- A job that the queue knows keeps what the queue knows. One that it does not know (the seed's format) takes its place
-- now: a pending one where it stands in the list, a running one under a lease that has just expired, because
-- nobody is known to hold it.
local id, raw = ARGV[3], ARGV[4]
local meta = call('HGET', META, id)
local m = {match(meta or '', FIELDS)}
if call('HGET', JOBS, id) ~= raw or (meta and not m[1]) then
  return 0
end
local started, finished, not_before = ARGV[13], ARGV[14], ARGV[16]
local known = m[1] ~= nil
local state, in_line = ARGV[12], false
if not known then
  local last = number()
  m = {'l', ARGV[5], format('%s%012.0f', ARGV[6], last), ARGV[7], ARGV[8], ARGV[9], ARGV[10], ARGV[11],
    format('%016.0f', last), int(now), 0, 0, 0, '-', '-', '-', '-', '-', ''}
  local due_s, due_us = tonumber(ARGV[17]), tonumber(ARGV[18])
  if state == 'p' and due_s and (due_s > now_s or (due_s == now_s and due_us > now_us)) then
    m[PLACE], m[TICKET], m[AT] = 'd', '-', ARGV[18]
  elseif state == 'p' then
    m[PLACE] = m[PRIORITY] == '0' and 'l' or 'z'
  else
    m[PLACE] = state
  end
  in_line = call('LPOS', PENDING, id) and true or false
end
m[ELEN], m[RLEN] = #ARGV[19], #ARGV[20]
if m[PLACE] == 'r' then
  finished, not_before = 'null', 'null'
  if not known then
    local token = math.max((call('HGET', VARS, 'token') or 0) + 1, now)
    call('HSET', VARS, 'token', int(token))
    m[TOKEN], m[EXPIRES] = format('%016.0f', token), int(now)
  end
  if started == 'null' then
    local micros = m[TOKEN] % 1000000
    started = iso((m[TOKEN] - micros) / 1000000, micros)
  end
elseif m[PLACE] == 's' or m[PLACE] == 'f' then
  local at = known and call('ZSCORE', FINISHED, id)
  if at then
    local micros = at % 1000000
    finished = iso((at - micros) / 1000000, micros)
  end
else
  started, finished = 'null', 'null'
end
local text = record(m, started, finished, not_before, ARGV[19] .. ',"result":' .. ARGV[20] .. ARGV[21])
call('HSET', JOBS, id, text)
call('HSET', META, id, concat(m, ' '))
if not known then
  call('ZADD', LISTED[m[PLACE]], m[ESEC], m[ENUM] .. id)
  if in_line and m[PLACE] ~= 'l' then
    call('LREM', PENDING, 0, id)
  end
  if m[PLACE] == 'r' then
    call('ZADD', LEASES, m[EXPIRES], m[TOKEN] .. id)
  elseif m[PLACE] == 's' or m[PLACE] == 'f' then
    call('ZADD', FINISHED, ARGV[15], id)
  elseif not (in_line and m[PLACE] == 'l') then
    place(id, m, ARGV[17])
  end
end
return 1
