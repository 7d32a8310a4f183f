-- Accept new jobs. ARGV 3...: per job its id, the record, and the meta's first fields with the due time:
-- "esec eus priority retries attempts failures crashes elen rlen due_s due_us"; due_s '-' when it is not delayed.
-- Answers how many were new.
local count = (#ARGV - 2) / 3
local ids = {}
for i = 1, count do
  ids[i] = ARGV[3 * i]
end
local metas = call('HMGET', META, unpack(ids))
local fresh, taken = {}, {}
for i = 1, count do
  if not metas[i] and not taken[ids[i]] then
    taken[ids[i]] = true
    fresh[#fresh + 1] = i
    ids[#fresh] = ids[i]
  end
end
if #fresh == 0 then
  return 0
end
-- A record without meta was written by another program: its id is known too, and adopted when it is met.
local raws = call('HMGET', JOBS, unpack(ids, 1, #fresh))
local new = {}
for i = 1, #fresh do
  if not raws[i] then
    new[#new + 1] = fresh[i]
  end
end
if #new == 0 then
  return 0
end
promote()
local last = call('HINCRBY', VARS, 'n', #new) - #new
local records, fields, listed, line, ready, delayed = {}, {}, {}, {}, {}, {}
for i = 1, #new do
  local id, raw = ARGV[3 * new[i]], ARGV[3 * new[i] + 1]
  local esec, eus, priority, retries, attempts, failures, crashes, elen, rlen, due_s, due_us = match(
    ARGV[3 * new[i] + 2], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  local enum = format('%s%012.0f', eus, last + i)
  local at, due = int(now), tonumber(due_s)
  local where, ticket = 'l', format('%016.0f', last + i)
  if due and (due > now_s or (due == now_s and tonumber(due_us) > now_us)) then
    where, ticket, at = 'd', '-', due_us
    delayed[#delayed + 1] = due_s
    delayed[#delayed + 1] = due_us .. sub(enum, 7) .. id
  elseif priority == '0' then
    line[#line + 1] = id
  else
    where = 'z'
    ready[#ready + 1] = 0 - priority
    ready[#ready + 1] = ticket .. id
  end
  records[2 * i - 1], records[2 * i] = id, raw
  fields[2 * i - 1] = id
  fields[2 * i] = concat({where, esec, enum, priority, retries, attempts, failures, crashes, ticket, at, elen, rlen,
    #raw, '- - - - - '}, ' ')
  listed[2 * i - 1], listed[2 * i] = esec, enum .. id
end
call('HSET', JOBS, unpack(records))
call('HSET', META, unpack(fields))
call('ZADD', LISTED.l, unpack(listed))
if line[1] then
  call('RPUSH', PENDING, unpack(line))
end
if ready[1] then
  call('ZADD', READY, unpack(ready))
end
if delayed[1] then
  call('ZADD', DELAYED, unpack(delayed))
end
wake()
return #new
