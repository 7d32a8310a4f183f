-- Forget final jobs. ARGV 3 age in us, 4 how many at most, 5 as how many a large one counts, then members of `finished`
-- whose progress keys are KEYS 17 and on. Answers how many were removed, whether to come back, and the members that
-- were left because their progress keys must be named.
-- include prelude
local before, limit = now - ARGV[3], tonumber(ARGV[4])
local members, named, more = {}, #ARGV > 5, 1
if named then  -- what the last call left
  for i = 6, #ARGV do
    local at = call('ZSCORE', FINISHED, ARGV[i])
    if at and tonumber(at) < before then
      members[#members + 1] = ARGV[i]
      call('UNLINK', KEYS[11 + i])
    end
  end
else
  members = call('ZRANGEBYSCORE', FINISHED, '-inf', '(' .. format('%.0f', before), 'LIMIT', 0, limit)
  more = #members == limit and 1 or 0
end
local ids, gone, succeeded, failed, left = {}, {}, {}, {}, {}
for i = 1, #members do
  local member = members[i]
  local flag = sub(member, 1, 1)
  if flag == 'p' and not named then
    left[#left + 1] = member
  elseif limit > 0 then
    limit = limit - (flag == 'b' and ARGV[5] or 1)
    local k = #ids + 1
    ids[k], gone[k] = sub(member, 21), member
    if sub(member, 2, 2) == 's' then
      succeeded[#succeeded + 1] = sub(member, 3)
    else
      failed[#failed + 1] = sub(member, 3)
    end
  end
end
if ids[1] then
  call('HDEL', JOBS, unpack(ids))
  call('HDEL', META, unpack(ids))
  if not named and #ids == #members then  -- they are the first, which costs less than to look for each
    call('ZREMRANGEBYRANK', FINISHED, 0, #ids - 1)
  else
    call('ZREM', FINISHED, unpack(gone))
  end
  if succeeded[1] then
    call('ZREM', OF_SUCCESS, unpack(succeeded))
  end
  if failed[1] then
    call('ZREM', OF_FAILED, unpack(failed))
  end
end
if #ids < #members then
  more = 1
end
return {#ids, more, unpack(left)}
