-- Bring a readable record that was not written by these scripts into their form, if it still is as the client saw it.
-- ARGV 3 id, 4 the record, 5 esec, 6 eus, 7 priority, 8 max_retries, 9 attempts, 10 failures, 11 crashes, 12 its state
-- (p r s f), 13 started, 14 finished as JSON, 15 finished in us, 16 not_before as JSON, 17 due s or '-', 18 due us,
-- 19 error JSON, 20 result JSON, 21 the rest, 22 which key is the list of its state. Answers 1 if it did.
-- A job that the queue knows keeps what the queue knows. One that it does not know (the seed's format) takes its place
-- now: a pending one where it stands in the list, a running one under a lease that has just expired, because
-- nobody is known to hold it.
-- include prelude
-- include job
local id, raw = ARGV[3], ARGV[4]
local meta = call('HGET', META, id)
local m = {match(meta or '', FIELDS)}
if call('HGET', JOBS, id) ~= raw or (meta and not m[1]) then
  return 0
end
local state, started, finished, not_before = ARGV[12], ARGV[13], ARGV[14], ARGV[16]
local tail = ARGV[19] .. ',"result":' .. ARGV[20] .. ARGV[21]

local status = 'pending'

-- What the texts of the head must be, where they are not what the record says.
local function as_known(at)
  if m[PLACE] == 'r' then
    status = 'running'
    finished, not_before = 'null', 'null'
    if started == 'null' then
      local micros = m[TOKEN] % 1000000
      started = iso((m[TOKEN] - micros) / 1000000, micros)
    end
  elseif m[PLACE] == 's' or m[PLACE] == 'f' then
    status = m[PLACE] == 's' and 'success' or 'failed'
    local micros = at % 1000000
    finished = iso((at - micros) / 1000000, micros)
  else
    started, finished = 'null', 'null'
  end
end

if m[1] then
  as_known(call('ZSCORE', FINISHED, m[FLAG] .. m[PLACE] .. m[ENUM] .. id) or 0)
  m[ERROR_LEN], m[RESULT_LEN] = #ARGV[19], #ARGV[20]
  call('HSET', JOBS, id, record(m, status, started, finished, not_before, tail))
  call('HSET', META, id, concat(m, ' '))
  return 1
end

local found = call('HMGET', META, '\0n', '\0token', '\0next', '\0idle')
-- include recall
last = last + 1
m = {'l', ARGV[5], ARGV[6] .. format('%012.0f', last), 0, 0, ARGV[9], ARGV[10], ARGV[11], ARGV[7], ARGV[8],
  format('%016.0f', last), format('%.0f', now), #ARGV[19], #ARGV[20], '- -', '-', '-', '-', ''}
local due_s, due_us = tonumber(ARGV[17]), tonumber(ARGV[18])
local in_line = call('LPOS', PENDING, id)
if state ~= 'p' then
  m[PLACE] = state
elseif due_s and (due_s > now_s or (due_s == now_s and due_us > now_us)) then
  m[PLACE], m[TICKET], m[AT] = 'd', '-', ARGV[18]
  next_us = math.min(next_us, due_s * 1000000 + due_us)
elseif m[PRIORITY] ~= '0' then
  m[PLACE] = 'z'
end
if state == 'r' then
  token = math.max(token + 1, now)
  m[TOKEN], m[EXPIRES] = format('%016.0f', token), format('%.0f', now)
  next_us = math.min(next_us, now)
end
as_known(tonumber(ARGV[15]))
call('HSET', JOBS, id, record(m, status, started, finished, not_before, tail))
local metas = {id, concat(m, ' ')}
-- include numbers
call('HSET', META, unpack(metas))
call('ZADD', KEYS[tonumber(ARGV[22])], m[ESEC], m[ENUM] .. id)
if in_line and m[PLACE] ~= 'l' then
  call('LREM', PENDING, 0, id)
end
if m[PLACE] == 'l' then
  if not in_line then
    call('RPUSH', PENDING, id)
  end
elseif m[PLACE] == 'z' then
  call('ZADD', READY, 0 - m[PRIORITY], m[TICKET] .. id)
elseif m[PLACE] == 'd' then
  call('ZADD', DELAYED, ARGV[17], m[AT] .. sub(m[ENUM], 7) .. id)
elseif m[PLACE] == 'r' then
  call('ZADD', LEASES, m[EXPIRES], m[TOKEN] .. id)
else
  call('ZADD', FINISHED, ARGV[15], m[FLAG] .. m[PLACE] .. m[ENUM] .. id)
end
-- include wake
return 1
