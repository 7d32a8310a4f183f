-- Delayed jobs whose time has come take their tickets, in the order (due time, first enqueue). Sets `promoted` if any
-- did, and looks ahead: when is the next one due, or the next lease expired?
while true do
  local due = call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  local member, due_s, due_us = due[1], tonumber(due[2]), tonumber(sub(due[1] or '', 1, 6))
  if not member or due_s > now_s or (due_s == now_s and due_us > now_us) then
    local expiry = call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
    next_us = math.min(member and due_s * 1000000 + due_us or 1e18, tonumber(expiry[2] or 1e18))
    break
  end
  local id = sub(member, 19)
  local m = {match(call('HGET', META, id) or '', FIELDS)}
  if m[PLACE] == 'd' then
    promoted = true
    last = last + 1
    m[PLACE], m[TICKET], m[AT] = m[PRIORITY] == '0' and 'l' or 'z', format('%016.0f', last), format('%.0f', now)
    call('HSET', META, id, concat(m, ' '), '\0n', format('%.0f', last))
    if m[PLACE] == 'l' then
      call('RPUSH', PENDING, id)
    else
      call('ZADD', READY, 0 - m[PRIORITY], m[TICKET] .. id)
    end
  end
  call('ZREM', DELAYED, member)
end
