-- Put a record that a client could not read into quarantine, if it still is as the client saw it.
-- ARGV 3 id, 4 the record (empty if there is none). Answers 1 if it did.
-- include prelude
local id, raw = ARGV[3], ARGV[4]
local meta = call('HGET', META, id)
local m = {match(meta or '', FIELDS)}
if (call('HGET', JOBS, id) or '') ~= raw or (meta and not m[1]) then
  return 0
end
local number = (call('HGET', META, '\0n') or 0) + 1
call('HSET', QUARANTINE, id, raw)
call('HSET', META, id, 'q ' .. number, '\0n', number)
call('HDEL', JOBS, id)
call('UNLINK', PROGRESS)
local place = m[PLACE]
if place == 'r' then
  call('ZREM', LEASES, m[TOKEN] .. id)
  call('ZREM', OF_RUNNING, m[ENUM] .. id)
elseif place == 's' or place == 'f' then
  call('ZREM', FINISHED, m[FLAG] .. place .. m[ENUM] .. id)
  call('ZREM', place == 's' and OF_SUCCESS or OF_FAILED, m[ENUM] .. id)
else
  if place == 'z' then
    call('ZREM', READY, m[TICKET] .. id)
  elseif place == 'd' then
    call('ZREM', DELAYED, m[AT] .. sub(m[ENUM], 7) .. id)
  else  -- in the list; also what another program put there
    call('LREM', PENDING, 0, id)
  end
  if meta then
    call('ZREM', OF_PENDING, m[ENUM] .. id)
  end
end
return 1
