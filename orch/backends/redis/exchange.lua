-- Report finished jobs, take back expired leases, deliver the best ready jobs.
-- ARGV 3 n, 4 worker, 5 lease in us, 6 max_crashes, 7 how many leases to take back at most, 8 and 9 the error of a job
-- with too many crashes as JSON around their number, 10 how many reports; then per report: id, token or '',
-- s success f failed t retry p given back, error JSON or '', result JSON or '', delay s or '', delay us.
-- Answers one text "reports done, leases taken back, us to the next due job or expiry or -1", the reports' answers,
-- the deliveries' and, if it had to stop, an X answer.
local n, worker, lease, max_crashes = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local answers, done, reclaimed, next_us = {''}, 0, 0, -1
local stop = nil  -- the X answer
local news, later = false, false  -- a job became pending, a job was put off
local promoted = false

local function promote_once()
  if not promoted then
    promoted = true
    if promote() then
      news = true
      return true
    end
  end
  return false
end

local function as_is(m, raw)
  return concat(m, ' ') .. '\n' .. raw
end

local function finish(id, m)
  m[TICKET], m[AT] = '-', '-'
  call('ZADD', FINISHED, int(now), id)
end

local function report(id, token, reported, error, result, delay_s, delay_us)
  local m, raw, started, _, not_before, error_at = read(id)
  if not m then
    return raw
  end
  local from = m[PLACE]
  if token ~= '' then
    if m[SETTLED] == token and m[REPORTED] == reported then
      return as_is(m, raw)
    end
    if m[TOKEN] ~= token then
      return 'L'
    end
  elseif reported == from then
    return as_is(m, raw)
  end
  local running = from == 'r'
  if from == 's' or from == 'f' or (reported == 't' and not running) or (reported == 'p' and token == '') then
    return 'I' .. from
  end
  if promote_once() and from == 'd' then
    m = {match(call('HGET', META, id), FIELDS)}
    from = m[PLACE]
  end

  local keeps = reported == 't' or reported == 'p'
  local comma = error_at + m[ELEN]
  local tail_at = comma + 10 + m[RLEN]
  if error == '' then
    error = keeps and sub(raw, error_at, comma - 1) or 'null'
  end
  if result == '' then
    result = keeps and sub(raw, comma + 10, tail_at - 1) or 'null'
  end
  local tail = error .. ',"result":' .. result .. sub(raw, tail_at)
  local old = {unpack(m)}
  m[ELEN], m[RLEN] = #error, #result
  m[TOKEN], m[EXPIRES], m[WORKER] = '-', '-', ''
  if token ~= '' then
    m[SETTLED], m[REPORTED] = token, reported
  end
  if reported == 'f' or reported == 't' then
    m[FAILURES] = m[FAILURES] + 1
  end

  if reported == 's' or reported == 'f' or (reported == 't' and tonumber(old[FAILURES]) >= tonumber(m[RETRIES])) then
    m[PLACE] = reported == 's' and 's' or 'f'
    raw = record(m, started, iso(now_s, now_us), not_before, tail)
    call('HSET', JOBS, id, raw)
    unplace(id, old)
    finish(id, m)
  else
    local due_s, due_us = now_s, now_us
    not_before = 'null'
    if delay_s ~= '' then
      due_s, due_us = now_s + delay_s, now_us + delay_us
      if due_us >= 1000000 then
        due_s, due_us = due_s + 1, due_us - 1000000
      end
      not_before = iso(due_s, due_us)
    end
    if reported == 'p' then  -- it keeps its ticket
      m[PLACE] = 'z'
    elseif due_s > now_s or due_us > now_us then
      m[PLACE], m[TICKET], m[AT] = 'd', '-', format('%06d', due_us)
      later = true
    else
      take_ticket(m)
    end
    raw = record(m, 'null', 'null', not_before, tail)
    call('HSET', JOBS, id, raw)
    unplace(id, old)
    place(id, m, int(due_s))
    news = true
  end
  call('HSET', META, id, concat(m, ' '))
  relist(id, m, from)
  return as_is(m, raw)
end

-- One expired lease is lost: its job comes back with its ticket, or ends.
local function reclaim(id, m, raw, started, error_at)
  local crashes = m[CRASHES] + 1
  local tail
  m[CRASHES] = crashes
  m[TOKEN], m[EXPIRES], m[WORKER] = '-', '-', ''
  if crashes > max_crashes then
    local error = ARGV[8] .. crashes .. ARGV[9]
    tail = error .. sub(raw, error_at + m[ELEN])
    m[PLACE], m[ELEN] = 'f', #error
    raw = record(m, started, iso(now_s, now_us), 'null', tail)
  else
    m[PLACE] = 'z'
    raw = record(m, 'null', 'null', 'null', sub(raw, error_at))
  end
  call('HSET', JOBS, id, raw)
  if m[PLACE] == 'f' then
    finish(id, m)
  else
    place(id, m)
  end
  call('HSET', META, id, concat(m, ' '))
  relist(id, m, 'r')
end

-- The best ready jobs, up to `want`: {id, place}; and whether more are ready.
local function best(want)
  local picks = {}
  local others = call('ZRANGE', READY, 0, want, 'WITHSCORES')
  local i = 1
  while others[i] and tonumber(others[i + 1]) <= 0 and #picks < want do
    picks[#picks + 1] = {sub(others[i], 17), 'z', others[i]}
    i = i + 2
  end
  local line, used = {}, 0
  if not others[i] or tonumber(others[i + 1]) > 0 then
    line = call('LRANGE', PENDING, 0, want - #picks)
    while line[used + 1] and #picks < want do
      used = used + 1
      picks[#picks + 1] = {line[used], 'l'}
    end
    while others[i] and #picks < want do
      picks[#picks + 1] = {sub(others[i], 17), 'z', others[i]}
      i = i + 2
    end
  end
  return picks, line[used + 1] ~= nil or others[i] ~= nil
end

local function deliver()
  local seen, started, expires = {}, iso(now_s, now_us), int(now + lease)
  local left, more = n, false
  while left > 0 and not stop do
    local picks
    picks, more = best(left)
    if not picks[1] then
      return false
    end
    local ids = {}
    for i = 1, #picks do
      ids[i] = picks[i][1]
    end
    local metas, raws = call('HMGET', META, unpack(ids)), call('HMGET', JOBS, unpack(ids))
    local token = tonumber(call('HGET', VARS, 'token') or 0)
    local records, fields, before, after, leases, gone, line = {}, {}, {}, {}, {}, {}, 0
    for i = 1, #picks do
      local id, where = ids[i], picks[i][2]
      local m = {match(metas[i] or '', FIELDS)}
      local raw = raws[i] or ''
      -- An id without a record, or one that stands here twice, is dropped; so is what is not where it should be.
      local drop = seen[id] or (metas[i] and m[PLACE] ~= where) or not (metas[i] or raws[i])
      if not drop then
        local _, error_at
        if metas[i] then
          _, _, _, error_at = parts(m, raw)
        end
        if not error_at then
          stop = 'X' .. id .. '\n' .. raw
          break
        end
        seen[id] = true
        token = token + 1
        if token < now then
          token = now
        end
        m[PLACE], m[ATTEMPTS] = 'r', m[ATTEMPTS] + 1
        m[TOKEN], m[EXPIRES], m[WORKER] = format('%016.0f', token), expires, worker
        raw = record(m, started, 'null', 'null', sub(raw, error_at))
        local meta, member = concat(m, ' '), m[ENUM] .. id
        local k = #records
        records[k + 1], records[k + 2] = id, raw
        fields[k + 1], fields[k + 2] = id, meta
        after[k + 1], after[k + 2] = m[ESEC], member
        leases[k + 1], leases[k + 2] = expires, m[TOKEN] .. id
        before[k / 2 + 1] = member
        answers[#answers + 1] = meta .. '\n' .. raw
        left = left - 1
      end
      if where == 'l' then
        line = line + 1
      else
        gone[#gone + 1] = picks[i][3]
      end
    end
    if records[1] then
      call('HSET', JOBS, unpack(records))
      call('HSET', META, unpack(fields))
      call('HSET', VARS, 'token', int(token))
      call('ZREM', LISTED.l, unpack(before))
      call('ZADD', LISTED.r, unpack(after))
      call('ZADD', LEASES, unpack(leases))
    end
    if line > 0 then
      call('LPOP', PENDING, line)
    end
    if gone[1] then
      call('ZREM', READY, unpack(gone))
    end
  end
  return more
end

local at = 11
for _ = 1, tonumber(ARGV[10]) do
  local answer = report(unpack(ARGV, at, at + 6))
  if sub(answer, 1, 1) == 'X' then
    stop = answer
    break
  end
  at = at + 7
  done = done + 1
  answers[#answers + 1] = answer
end

if n > 0 and not stop then
  if worker ~= '' then
    call('ZADD', WORKERS, int(now), worker)
  end
  local expired = call('ZRANGEBYSCORE', LEASES, '-inf', int(now), 'LIMIT', 0, ARGV[7])
  for i = 1, #expired do
    local id = sub(expired[i], 17)
    local m, raw, started, _, _, error_at = read(id)
    if m and m[TOKEN] == sub(expired[i], 1, 16) then
      reclaim(id, m, raw, started, error_at)
      reclaimed = reclaimed + 1
    elseif not m and sub(raw, 1, 1) == 'X' then
      stop = raw
      break
    end
    call('ZREM', LEASES, expired[i])
  end
end
if n > 0 and not stop then
  promote_once()
  local more = deliver()
  if more or later then
    wake()  -- whoever is woken next takes what is ready and wakes the next one, or learns how long to wait
  end
  if not more and not stop and #answers - 1 - done < n then
    local due = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
    if due[1] then
      next_us = (due[2] - now_s) * 1000000 + (sub(due[1], 1, 6) - now_us)
    end
    local expiry = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
    if expiry[1] and (next_us < 0 or expiry[2] - now < next_us) then
      next_us = math.max(expiry[2] - now, 0)
    end
  end
elseif news then
  wake()
end
answers[1] = done .. ' ' .. reclaimed .. ' ' .. int(next_us)
if stop then
  answers[#answers + 1] = stop
end
return answers
