-- Changes of jobs are collected and made together: one command for each key that they concern. At most one change of
-- a job may be waiting. Uses `last` and `now`.
local records, metas, unleased, removed, finals, line, ready, delayed = {}, {}, {}, {}, {}, {}, {}, {}
local unlisted, listed = {}, {}  -- by key

-- include opened

local function list_of(place)
  return place == 'r' and OF_RUNNING or place == 's' and OF_SUCCESS or place == 'f' and OF_FAILED or OF_PENDING
end

-- Take a job out of where it waits or runs.
local function leave(id, m)
  local place = m[PLACE]
  if place == 'r' then
    unleased[#unleased + 1] = m[TOKEN] .. id
  elseif place == 'l' then
    removed[#removed + 1] = {'LREM', PENDING, 1, id}
  elseif place == 'z' then
    removed[#removed + 1] = {'ZREM', READY, m[TICKET] .. id}
  elseif place == 'd' then
    removed[#removed + 1] = {'ZREM', DELAYED, m[AT] .. sub(m[ENUM], 7) .. id}
  else
    removed[#removed + 1] = {'ZREM', FINISHED, m[FLAG] .. place .. m[ENUM] .. id}
  end
  m[TOKEN], m[EXPIRES], m[WORKER] = '-', '-', ''
end

-- Put it where its fields say, with a record made of these texts. Returns the answer that shows it.
local function enter(id, m, from, started, finished, not_before, tail, due_s)
  local place, status = m[PLACE], 'pending'
  if place == 'l' then
    line[#line + 1] = id
  elseif place == 'z' then
    ready[#ready + 1] = 0 - m[PRIORITY]
    ready[#ready + 1] = m[TICKET] .. id
  elseif place == 'd' then
    delayed[#delayed + 1] = format('%.0f', due_s)
    delayed[#delayed + 1] = m[AT] .. sub(m[ENUM], 7) .. id
  else
    status = place == 's' and 'success' or 'failed'
    m[TICKET], m[AT] = '-', '-'
    if m[FLAG] == '-' and #tail > 32768 then
      m[FLAG] = 'b'
    end
    finals[#finals + 1] = format('%.0f', now)
    finals[#finals + 1] = m[FLAG] .. place .. m[ENUM] .. id
  end
  local before, after = list_of(from), list_of(place)
  if before ~= after then
    local gone, come = unlisted[before], listed[after]
    if not gone then
      gone = {}
      unlisted[before] = gone
    end
    if not come then
      come = {}
      listed[after] = come
    end
    gone[#gone + 1] = m[ENUM] .. id
    come[#come + 1] = m[ESEC]
    come[#come + 1] = m[ENUM] .. id
  end
  local raw = record(m, status, started, finished, not_before, tail)
  local meta = concat(m, ' ')
  local k = #records
  records[k + 1], records[k + 2] = id, raw
  metas[k + 1], metas[k + 2] = id, meta
  return meta .. '\n' .. raw
end

-- A ready job's new ticket.
local function take_ticket(m)
  last = last + 1
  m[PLACE], m[TICKET], m[AT] = m[PRIORITY] == '0' and 'l' or 'z', format('%016.0f', last), format('%.0f', now)
end

-- Make all changes.
local function flush()
  if not records[1] then
    return
  end
  call('HSET', JOBS, unpack(records))
  call('HSET', META, unpack(metas))
  if unleased[1] then
    call('ZREM', LEASES, unpack(unleased))
  end
  for i = 1, #removed do
    call(unpack(removed[i]))
  end
  for key, list in pairs(unlisted) do
    call('ZREM', key, unpack(list))
  end
  for key, list in pairs(listed) do
    call('ZADD', key, unpack(list))
  end
  if finals[1] then
    call('ZADD', FINISHED, unpack(finals))
  end
  if line[1] then
    call('RPUSH', PENDING, unpack(line))
  end
  if ready[1] then
    call('ZADD', READY, unpack(ready))
  end
  if delayed[1] then
    call('ZADD', DELAYED, unpack(delayed))
  end
  records, metas, unleased, removed, finals, line, ready, delayed = {}, {}, {}, {}, {}, {}, {}, {}
  unlisted, listed = {}, {}
end
