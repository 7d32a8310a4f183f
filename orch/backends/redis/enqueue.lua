-- Accept new jobs. ARGV 3...: per job its id, the record, and for meta "esec eus priority", "hlen attempts failures
-- crashes priority retries", "elen rlen", "due_s due_us" in one text; due_s is - when it is not delayed.
-- Answers how many were new.
-- include prelude
local asked = {'\0n', '\0token', '\0next', '\0idle'}
for i = 3, #ARGV, 3 do
  asked[#asked + 1] = ARGV[i]
end
local found = call('HMGET', META, unpack(asked))
-- include recall
local new, ids, taken = {}, {}, {}
for i = 5, #asked do
  local id = asked[i]
  if not found[i] and not taken[id] then
    taken[id] = true
    ids[#ids + 1] = id
    new[#new + 1] = 3 * (i - 4)
  end
end
if not ids[1] then
  return 0
end
-- A record without meta was written by another program: its id is known too, and adopted when it is met.
local foreign = call('HMGET', JOBS, unpack(ids))
for i = #ids, 1, -1 do
  if foreign[i] then
    table.remove(ids, i)
    table.remove(new, i)
  end
end
if not ids[1] then
  return 0
end
if next_us <= now then
  local promoted
  -- include promote
end
local records, metas, listed, line, ready, delayed = {}, {}, {}, {}, {}, {}
for i = 1, #ids do
  local id, raw = ids[i], ARGV[new[i] + 1]
  local esec, eus, priority, counters, lengths, due_s, due_us = match(ARGV[new[i] + 2],
    '^(%S+) (%S+) (%S+) (%S+ %S+ %S+ %S+ %S+ %S+) (%S+ %S+) (%S+) (%S+)$')
  last = last + 1
  local place, ticket, at = 'l', format('%016.0f', last), nil
  local enum, due = eus .. sub(ticket, 5), tonumber(due_s)
  if due and (due > now_s or (due == now_s and tonumber(due_us) > now_us)) then
    place, ticket, at = 'd', '-', due_us
    delayed[#delayed + 1] = due_s
    delayed[#delayed + 1] = due_us .. sub(enum, 7) .. id
    next_us = math.min(next_us, due * 1000000 + due_us)
  elseif priority == '0' then
    line[#line + 1] = id
  else
    place = 'z'
    ready[#ready + 1] = 0 - priority
    ready[#ready + 1] = ticket .. id
  end
  local k = 2 * i
  records[k - 1], records[k] = id, raw
  metas[k - 1], metas[k] = id, place .. ' ' .. esec .. ' ' .. enum .. ' ' .. #raw .. ' ' .. counters .. ' ' .. ticket
    .. ' ' .. (at or format('%.0f', now)) .. ' ' .. lengths .. ' - - - - - '
  listed[k - 1], listed[k] = esec, enum .. id
end
-- include numbers
call('HSET', JOBS, unpack(records))
call('HSET', META, unpack(metas))
call('ZADD', OF_PENDING, unpack(listed))
if line[1] then
  call('RPUSH', PENDING, unpack(line))
end
if ready[1] then
  call('ZADD', READY, unpack(ready))
end
if delayed[1] then
  call('ZADD', DELAYED, unpack(delayed))
end
-- include wake
return #ids
