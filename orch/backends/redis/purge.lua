-- Forget final jobs. ARGV 3 age in us, 4 how many at most, 5 how many bytes of records at most, then ids whose
-- progress keys are KEYS 17 and on. Answers how many were removed, whether to come back, and the ids that were left
-- because their progress keys must be named.
-- include prelude
local before = '(' .. format('%.0f', now - ARGV[3])
local limit, bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local gone, lists, left = {}, {s = {}, f = {}}, {}

local function forget(id, m)
  gone[#gone + 1] = id
  local list = lists[m[PLACE]]
  if list then
    list[#list + 1] = m[ENUM] .. id
  end
end

for i = 6, #ARGV do
  local at = call('ZSCORE', FINISHED, ARGV[i])
  if at and tonumber(at) < now - ARGV[3] then
    forget(ARGV[i], {match(call('HGET', META, ARGV[i]) or '', FIELDS)})
    call('UNLINK', KEYS[11 + i])
  end
end

local more = 0
if #gone == 0 then
  local ids = call('ZRANGEBYSCORE', FINISHED, '-inf', before, 'LIMIT', 0, limit)
  if ids[1] then
    more = #ids == limit and 1 or 0
    local metas = call('HMGET', META, unpack(ids))
    for i = 1, #ids do
      local m = {match(metas[i] or '', FIELDS)}
      if m[FLAG] == 'p' then
        left[#left + 1] = ids[i]
        more = 1
      else
        forget(ids[i], m)
        bytes = bytes - (m[LEN] or 0)
        if bytes < 0 then
          more = 1
          break
        end
      end
    end
  end
else
  more = 1
end

if gone[1] then
  call('HDEL', JOBS, unpack(gone))
  call('HDEL', META, unpack(gone))
  call('ZREM', FINISHED, unpack(gone))
  if lists.s[1] then
    call('ZREM', OF_SUCCESS, unpack(lists.s))
  end
  if lists.f[1] then
    call('ZREM', OF_FAILED, unpack(lists.f))
  end
end
return {#gone, more, unpack(left)}
