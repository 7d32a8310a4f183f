-- Report finished jobs, take back expired leases, deliver the best ready jobs.
-- ARGV 3 n, 4 worker, 5 a beat of it or '', 6 lease in us, 7 max_crashes, 8 how many leases to take back at most, 9 and
-- 10 the error of a job with too many crashes as JSON around their number, 11 how many reports; then per report: id,
-- token or '', s success f failed t retry p given back, error JSON or '', result JSON or '', delay s or '', delay us.
-- Answers one text "reports done, leases taken back, us until something may be due or -1", the reports' answers, the
-- deliveries' and, if it had to stop, an X answer.
-- include prelude
-- include job
local n, reports = tonumber(ARGV[3]), tonumber(ARGV[11])
local asked = {'\0n', '\0token', '\0next', '\0idle'}
for i = 1, math.min(reports, 100) do
  asked[i + 4] = ARGV[5 + 7 * i]
end
local found = call('HMGET', META, unpack(asked))
-- include recall
local answers, done, reclaimed, stop = {''}, 0, 0, nil  -- `stop` is the X answer
local news, later, promoted = false, false, false  -- a job became ready, a job was put off, delayed ones are ready
local instant = iso(now_s, now_us)

if reports > 0 or (n > 0 and next_us <= now) then
  -- include changes

  -- Reports, a hundred at a time so that not all their records are in memory.
  while done < reports and not stop do
    if done > 0 then
      asked = {'', '', '', ''}
      for i = done + 1, math.min(done + 100, reports) do
        asked[#asked + 1] = ARGV[5 + 7 * i]
      end
      found = call('HMGET', META, unpack(asked))
    end
    local raws, settled = call('HMGET', JOBS, unpack(asked, 5)), {}
    for i = 5, #asked do
      local id, at = asked[i], 5 + 7 * (done + 1)
      local under, reported, error, result, delay_s = unpack(ARGV, at + 1, at + 5)
      local meta, raw = found[i], raws[i - 4]
      if settled[id] then
        flush()
        meta, raw = call('HGET', META, id), call('HGET', JOBS, id)
      elseif promoted then  -- what was found may have moved
        meta = call('HGET', META, id)
      end
      local m, answer
      m, raw = opened(id, meta, raw)
      local from = m and m[PLACE]
      if not m then
        answer = raw
      elseif under ~= '' and m[SETTLED] == under .. ' ' .. reported or under == '' and reported == from then
        answer = meta .. '\n' .. raw  -- silent
      elseif under ~= '' and m[TOKEN] ~= under then
        answer = 'L'
      elseif from == 's' or from == 'f' or (reported == 't' and from ~= 'r') or (reported == 'p' and under == '') then
        answer = 'I' .. from
      end
      if answer then
        if sub(answer, 1, 1) == 'X' then
          stop = answer
          break
        end
      else
        if next_us <= now and not promoted then
          -- include promote
          if promoted then
            news = true
            m = {match(call('HGET', META, id), FIELDS)}
            from = m[PLACE]
          end
        end
        settled[id] = true
        local started, not_before, keeps = 'null', 'null', reported == 't' or reported == 'p'
        if from ~= 'r' then
          not_before = match(sub(raw, 1, m[HEAD_LEN]), ',"not_before":(.-),"error":$') or 'null'
        elseif reported ~= 'p' then
          started = match(raw, '^"started_at":(.-),"finished_at":', 27) or 'null'
        end
        local error_at = m[HEAD_LEN] + 1
        local comma = error_at + m[ERROR_LEN]
        local tail_at = comma + 10 + m[RESULT_LEN]
        if error == '' then
          error = keeps and sub(raw, error_at, comma - 1) or 'null'
        end
        if result == '' then
          result = keeps and sub(raw, comma + 10, tail_at - 1) or 'null'
        end
        local tail = error .. ',"result":' .. result .. sub(raw, tail_at)
        local exhausted = reported == 't' and tonumber(m[FAILURES]) >= tonumber(m[RETRIES])
        m[ERROR_LEN], m[RESULT_LEN] = #error, #result
        if under ~= '' then
          m[SETTLED] = under .. ' ' .. reported
        end
        if reported == 'f' or reported == 't' then
          m[FAILURES] = m[FAILURES] + 1
        end
        leave(id, m)
        if reported == 's' or reported == 'f' or exhausted then
          m[PLACE] = reported == 's' and 's' or 'f'
          answer = enter(id, m, from, started, instant, not_before, tail)
        else
          local due_s, due_us = now_s, now_us
          not_before = 'null'
          if delay_s ~= '' then
            due_s, due_us = now_s + delay_s, now_us + ARGV[at + 6]
            if due_us >= 1000000 then
              due_s, due_us = due_s + 1, due_us - 1000000
            end
            not_before = iso(due_s, due_us)
          end
          if reported == 'p' then  -- it keeps its ticket
            m[PLACE], news = 'z', true
          elseif due_s > now_s or due_us > now_us then
            m[PLACE], m[TICKET], m[AT], later = 'd', '-', format('%06d', due_us), true
            next_us = math.min(next_us, due_s * 1000000 + due_us)
          else
            take_ticket(m)
            news = true
          end
          answer = enter(id, m, from, 'null', 'null', not_before, tail, due_s)
        end
      end
      done = done + 1
      answers[#answers + 1] = answer
    end
    flush()
  end

  if n > 0 and next_us <= now and not stop then
    -- Expired leases are lost, oldest expiry first: their jobs come back with their tickets, or end.
    local expired = call('ZRANGEBYSCORE', LEASES, '-inf', format('%.0f', now), 'LIMIT', 0, ARGV[8])
    for i = 1, #expired do
      local id = sub(expired[i], 17)
      local m, raw = opened(id, call('HGET', META, id), call('HGET', JOBS, id))
      if m and m[TOKEN] .. id == expired[i] then
        local crashes, error_at = m[CRASHES] + 1, m[HEAD_LEN] + 1
        m[CRASHES] = crashes
        leave(id, m)
        if crashes > tonumber(ARGV[7]) then
          local started = match(raw, '^"started_at":(.-),"finished_at":', 27) or 'null'
          local error = ARGV[9] .. crashes .. ARGV[10]
          local tail = error .. sub(raw, error_at + m[ERROR_LEN])
          m[PLACE], m[ERROR_LEN] = 'f', #error
          enter(id, m, 'r', started, instant, 'null', tail)
        else
          m[PLACE] = 'z'
          enter(id, m, 'r', 'null', 'null', 'null', sub(raw, error_at))
        end
        reclaimed = reclaimed + 1
      elseif not m and sub(raw, 1, 1) == 'X' then
        stop = raw
        break
      else
        call('ZREM', LEASES, expired[i])
      end
    end
    flush()
  end
end

local metas, wait_us = {}, -1
if n > 0 and not stop then
  if ARGV[5] ~= '' then
    call('ZADD', WORKERS, format('%.0f', now), ARGV[5])
  end
  if next_us <= now then
    -- include promote
  end

  local left, more, seen = n, false, {}
  local expires, running = format('%.0f', now + ARGV[6]), '{"v":1,"status":"running","started_at":' .. instant
    .. ',"finished_at":null,"attempts":'
  while left > 0 and not stop do
    -- The best ready jobs: those of `ready` with priority 0 or more, the list, the rest; one more than wanted is read.
    local ids, members, others, i = {}, {}, call('ZRANGE', READY, 0, left, 'WITHSCORES'), 1
    while others[i] and tonumber(others[i + 1]) <= 0 and #ids < left do
      ids[#ids + 1], members[#ids + 1] = sub(others[i], 17), others[i]
      i = i + 2
    end
    more = others[i] ~= nil
    if not more or tonumber(others[i + 1]) > 0 then
      local line, first = call('LRANGE', PENDING, 0, left - #ids), #ids
      for k = 1, math.min(#line, left - first) do
        ids[first + k] = line[k]
      end
      while others[i] and #ids < left do
        ids[#ids + 1], members[#ids + 1] = sub(others[i], 17), others[i]
        i = i + 2
      end
      more = #ids < first + #line or others[i] ~= nil
    end
    if not ids[1] then
      break
    end
    local found, raws = call('HMGET', META, unpack(ids)), call('HMGET', JOBS, unpack(ids))
    local line, gone, records, fields, before, after, leases = 0, {}, {}, {}, {}, {}, {}
    for i = 1, #ids do
      local id, meta, raw = ids[i], found[i], raws[i]
      local m = {match(meta or '', FIELDS)}
      -- An id without a record, or one that stands here twice, is dropped; so is one that is not where meta says.
      if not seen[id] and ((meta and m[PLACE] == (members[i] and 'z' or 'l')) or (not meta and raw)) then
        if not meta or not raw or not sound(m, raw) then
          stop = 'X' .. id .. '\n' .. (raw or '')
          break
        end
        seen[id] = true
        left = left - 1
        token = token < now and now or token + 1
        m[PLACE], m[ATTEMPTS] = 'r', m[ATTEMPTS] + 1
        m[TOKEN], m[EXPIRES], m[WORKER] = format('%016.0f', token), expires, ARGV[4]
        local tail = sub(raw, m[HEAD_LEN] + 1)
        local head = running .. m[ATTEMPTS] .. ',"failures":' .. m[FAILURES] .. ',"crashes":' .. m[CRASHES]
          .. ',"not_before":null,"error":'
        m[HEAD_LEN], m[LEN] = #head, #head + #tail
        raw, meta = head .. tail, concat(m, ' ')
        local k, member = #after, m[ENUM] .. id
        records[k + 1], records[k + 2] = id, raw
        fields[k + 1], fields[k + 2] = id, meta
        after[k + 1], after[k + 2] = m[ESEC], member
        leases[k + 1], leases[k + 2] = expires, m[TOKEN] .. id
        before[k / 2 + 1] = member
        answers[#answers + 1] = meta .. '\n' .. raw
      end
      if members[i] then
        gone[#gone + 1] = members[i]
      else
        line = line + 1
      end
    end
    if fields[1] then
      next_us = math.min(next_us, now + ARGV[6])
      call('HSET', JOBS, unpack(records))
      call('HSET', META, '\0token', format('%.0f', token), unpack(fields))
      call('ZREM', OF_PENDING, unpack(before))
      call('ZADD', OF_RUNNING, unpack(after))
      call('ZADD', LEASES, unpack(leases))
      was_token = token
    end
    if line > 0 then
      call('LPOP', PENDING, line)
    end
    if gone[1] then
      call('ZREM', READY, unpack(gone))
    end
  end
  if more or later then
    -- include wake
  end
  if left > 0 and not stop then
    wait_us = math.max(next_us - now, 0)
    if now_s - idle >= 1 or now_s < idle then
      idle = now_s
    end
  end
elseif news or later then
  -- include wake
end
-- include numbers
if metas[1] then
  call('HSET', META, unpack(metas))
end
answers[1] = done .. ' ' .. reclaimed .. ' ' .. format('%.0f', wait_us)
if stop then
  answers[#answers + 1] = stop
end
return answers
