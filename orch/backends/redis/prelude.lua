-- What every script of a queue begins with: the keys in prose, and how a job is read and written.
--
-- jobs        hash, id -> record: JSON with the true status. The head, up to "error", has a fixed layout that only
--             these scripts write; what follows is a client's JSON, which is cut and joined as bytes, never decoded:
--             {"v":1,"status":S,"started_at":T,"finished_at":T,"attempts":N,"failures":N,"crashes":N,
--              "max_retries":N,"priority":N,"not_before":T,"error":E,"result":R,"id":...}
-- meta        hash, id -> the fields below in one text: what the queue knows of a job without reading its record.
--             A job in quarantine has "q <number>" there, by which the quarantine is ordered.
-- pending     list of ids: ready jobs of priority 0 in ticket order
-- ready       sorted set of every other ready job: score -priority, member ticket .. id. A job that comes back with
--             its ticket is here; at priority 0 its ticket is lower than all in `pending`, so it precedes them.
-- delayed     sorted set: score due second, member due microseconds .. number .. id
-- leases      sorted set of running jobs: score expiry in us, member token .. id
-- listed:X    sorted set of the jobs in state X: score second of `enqueued_at`, member microseconds .. number .. id.
--             These four are also the counts.
-- finished    sorted set of final jobs, for purge: score us when they finished, member id
-- vars        hash: n, the last number given (a first enqueue and a ticket take one each), and the last token
-- wake        sorted set of at most one member, put there when idle workers should look; they block on it
-- workers     sorted set: score last beat in us, member worker id; announced: hash, worker id -> what it said
-- quarantine  hash, id -> bytes of a record that cannot be read
-- schedules   hash, schedule key -> last tick
-- progress:ID hash, task id -> output; the field "" is their size in bytes
--
-- Numbers that are ordered as text have a fixed width: numbers 12 digits, tickets and tokens 16. Seconds and
-- microseconds are kept apart where a caller may name any year: a double is exact to 2^53 only.
-- The first write of a script is one that a full server refuses, so that a refused script has changed nothing.
-- A script that meets a record which is not as it was written stops before it touches that job and answers
-- X id \n record: the client reads it, settles the matter (restore or quarantine) and goes on from there.
-- Other answers: N unknown id, L lease lost, I place: illegal step, Q record: in quarantine; else meta \n record.

local call, match, sub, format, concat = redis.call, string.match, string.sub, string.format, table.concat
local JOBS, META, PENDING, READY, DELAYED, LEASES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local FINISHED, VARS, WAKE, WORKERS = KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local ANNOUNCED, QUARANTINE, SCHEDULES, PROGRESS = KEYS[15], KEYS[16], KEYS[17], KEYS[18]

-- Where a job is: l in pending, z in ready, d in delayed, r running, s success, f failed.
local LISTED = {l = KEYS[7], z = KEYS[7], d = KEYS[7], r = KEYS[8], s = KEYS[9], f = KEYS[10]}
local STATUS = {l = 'pending', z = 'pending', d = 'pending', r = 'running', s = 'success', f = 'failed'}

-- The fields of meta. AT is when it took its ticket (us), or the due microseconds of a delayed job; a name that ends
-- in LEN is of the error, the result, the whole record; SETTLED and REPORTED are the pair of Q8.
local PLACE, ESEC, ENUM, PRIORITY, RETRIES, ATTEMPTS, FAILURES, CRASHES = 1, 2, 3, 4, 5, 6, 7, 8
local TICKET, AT, ELEN, RLEN, LEN, SETTLED, REPORTED, FLAG = 9, 10, 11, 12, 13, 14, 15, 16
local TOKEN, EXPIRES, WORKER = 17, 18, 19
local FIELDS = '^(%l) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$'
local HEAD = '^{"v":1,"status":"%l+","started_at":(.-),"finished_at":(.-),"attempts":%d+,"failures":%d+,"crashes":%d+,'
  .. '"max_retries":%d+,"priority":%-?%d+,"not_before":(.-),"error":()'

local now_s, now_us = ARGV[1], ARGV[2]  -- the clock that was handed in, as seconds and microseconds; or empty
if now_s == '' then
  local time = call('TIME')
  now_s, now_us = time[1], time[2]
end
now_s, now_us = tonumber(now_s), tonumber(now_us)
local now = now_s * 1000000 + now_us

-- A whole number as text; Lua's own conversion keeps 14 digits.
local function int(number)
  return format('%.0f', number)
end

-- An instant as JSON text, as Python writes it: 2026-11-24T10:00:00.000001+00:00, microseconds left out when 0.
-- The date is Howard Hinnant's civil_from_days, https://howardhinnant.github.io/date_algorithms.html
local function iso(seconds, micros)
  local floor = math.floor
  local days = floor(seconds / 86400)
  local rest = seconds - days * 86400
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local fraction = micros == 0 and '' or format('.%06d', micros)
  return format('"%04d-%02d-%02dT%02d:%02d:%02d%s+00:00"', year, month, doy - floor((153 * mp + 2) / 5) + 1,
    floor(rest / 3600), floor(rest / 60) % 60, rest % 60, fraction)
end

-- The parts of a record: started, finished, not_before, and where the error begins. Nil if it is not as written.
local function parts(m, raw)
  if #raw ~= tonumber(m[LEN]) then
    return nil
  end
  local started, finished, not_before, error_at = match(raw, HEAD)
  if not started then
    return nil
  end
  local comma = error_at + m[ELEN]
  if sub(raw, comma, comma + 9) ~= ',"result":' then
    return nil
  end
  comma = comma + 10 + m[RLEN]
  if sub(raw, comma, comma + 6) ~= ',"id":"' then
    return nil
  end
  return started, finished, not_before, error_at
end

-- A job's meta, its record and the record's parts; or nil and the answer that says why not.
local function read(id)
  local meta = call('HGET', META, id)
  local raw = call('HGET', JOBS, id)
  if not meta then
    return nil, raw and 'X' .. id .. '\n' .. raw or 'N'
  end
  local m = {match(meta, FIELDS)}
  if not m[1] then
    return nil, 'Q' .. (call('HGET', QUARANTINE, id) or '')
  end
  raw = raw or ''
  local started, finished, not_before, error_at = parts(m, raw)
  if not started then
    return nil, 'X' .. id .. '\n' .. raw
  end
  return m, raw, started, finished, not_before, error_at
end

-- The record of a job whose meta is settled: the head from it, then the error's JSON and all that follows.
local function record(m, started, finished, not_before, tail)
  local raw = concat({'{"v":1,"status":"', STATUS[m[PLACE]], '","started_at":', started, ',"finished_at":', finished,
    ',"attempts":', m[ATTEMPTS], ',"failures":', m[FAILURES], ',"crashes":', m[CRASHES], ',"max_retries":', m[RETRIES],
    ',"priority":', m[PRIORITY], ',"not_before":', not_before, ',"error":', tail})
  m[LEN] = #raw
  return raw
end

-- Its entry in the lists and counts, when it moved to another state.
local function relist(id, m, from)
  local before, after = LISTED[from], LISTED[m[PLACE]]
  if before ~= after then
    call('ZREM', before, m[ENUM] .. id)
    call('ZADD', after, m[ESEC], m[ENUM] .. id)
  end
end

local function number()
  return call('HINCRBY', VARS, 'n', 1)
end

local function due_member(id, m)
  return m[AT] .. sub(m[ENUM], 7) .. id
end

-- Take it out of where it waits or runs.
local function unplace(id, m)
  local place = m[PLACE]
  if place == 'r' then
    call('ZREM', LEASES, m[TOKEN] .. id)
  elseif place == 'l' then
    call('LREM', PENDING, 1, id)
  elseif place == 'z' then
    call('ZREM', READY, m[TICKET] .. id)
  elseif place == 'd' then
    call('ZREM', DELAYED, due_member(id, m))
  end
end

-- Give it a new ticket; `place` puts it in line, after its meta was written.
local function take_ticket(m)
  m[PLACE] = m[PRIORITY] == '0' and 'l' or 'z'
  m[TICKET] = format('%016.0f', number())
  m[AT] = int(now)
end

local function place(id, m, due_s)
  if m[PLACE] == 'l' then
    call('RPUSH', PENDING, id)
  elseif m[PLACE] == 'z' then
    call('ZADD', READY, 0 - m[PRIORITY], m[TICKET] .. id)
  else
    call('ZADD', DELAYED, due_s, due_member(id, m))
  end
end

local function wake()
  call('ZADD', WAKE, 0, 'w')
end

-- Delayed jobs whose time has come take their tickets, in the order (due time, first enqueue). True if any did.
local function promote()
  local any = false
  while true do
    local first = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
    if not first[1] then
      return any
    end
    local member, due_s = first[1], tonumber(first[2])
    if due_s > now_s or (due_s == now_s and tonumber(sub(member, 1, 6)) > now_us) then
      return any
    end
    local id = sub(member, 19)
    local m = {match(call('HGET', META, id) or '', FIELDS)}
    if m[PLACE] == 'd' then
      take_ticket(m)
      call('HSET', META, id, concat(m, ' '))
      place(id, m)
      any = true
    end
    call('ZREM', DELAYED, member)
  end
end
