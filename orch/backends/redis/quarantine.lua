-- Put a record that a client could not read into quarantine, if it still is as the client saw it.
-- ARGV 3 id, 4 the record (empty if there is none). Answers 1 if it did.
local id, raw = ARGV[3], ARGV[4]
local meta = call('HGET', META, id)
local m = {match(meta or '', FIELDS)}
if (call('HGET', JOBS, id) or '') ~= raw or (meta and not m[1]) then
  return 0
end
call('HSET', QUARANTINE, id, raw)
call('HSET', META, id, 'q ' .. int(number()))
call('HDEL', JOBS, id)
call('UNLINK', PROGRESS)
if m[1] then
  unplace(id, m)
  call('ZREM', LISTED[m[PLACE]], m[ENUM] .. id)
  call('ZREM', FINISHED, id)
else
  call('LREM', PENDING, 0, id)
end
return 1
