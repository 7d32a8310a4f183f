-- One snapshot in numbers: jobs per state in the order of a job's life, delayed ones, those in quarantine, and how
-- long ago in us the oldest of the heads took its ticket, or ''. Each priority has one head: its lowest ticket.
-- include prelude
local oldest

local function look(id)
  local m = {match(call('HGET', META, id) or '', FIELDS)}
  local at = tonumber(m[AT])
  if at and (not oldest or at < oldest) then
    oldest = at
  end
end

local returned = false  -- at priority 0 a returned job is the head, else the first of the list
local head = call('ZRANGE', READY, 0, 0, 'WITHSCORES')
while head[1] do
  look(sub(head[1], 17))
  returned = returned or tonumber(head[2]) == 0
  head = call('ZRANGEBYSCORE', READY, '(' .. head[2], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
end
local first = not returned and call('LINDEX', PENDING, 0)
if first then
  look(first)
end
return {call('ZCARD', OF_PENDING), call('ZCARD', OF_RUNNING), call('ZCARD', OF_SUCCESS), call('ZCARD', OF_FAILED),
  call('ZCARD', DELAYED), call('HLEN', QUARANTINE), oldest and format('%.0f', now - oldest) or ''}
