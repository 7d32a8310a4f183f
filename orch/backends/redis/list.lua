-- The newest jobs. ARGV 3 which key is the list of their state, or '' for all four; 4 how many at most. Answers meta
-- \n record, or X, of each.
-- include prelude
-- include job
local limit = tonumber(ARGV[4])
local members = {}
if ARGV[3] ~= '' then
  members = call('ZREVRANGE', KEYS[tonumber(ARGV[3])], 0, limit - 1)
else  -- four lists in order are merged
  local lists, at = {}, {1, 1, 1, 1}
  for i = 1, 4 do
    lists[i] = call('ZREVRANGE', KEYS[6 + i], 0, limit - 1, 'WITHSCORES')
  end
  while #members < limit do
    local best
    for i = 1, 4 do
      local member = lists[i][at[i]]
      if member then
        local second = tonumber(lists[i][at[i] + 1])
        if not best or second > best[2]
          or (second == best[2] and sub(member, 1, 18) > sub(best[1], 1, 18)) then
          best = {member, second, i}
        end
      end
    end
    if not best then
      break
    end
    members[#members + 1] = best[1]
    at[best[3]] = at[best[3]] + 2
  end
end

local answers = {}
for first = 1, #members, 1000 do
  local ids = {}
  for i = first, math.min(first + 999, #members) do
    ids[#ids + 1] = sub(members[i], 19)
  end
  local metas, raws = call('HMGET', META, unpack(ids)), call('HMGET', JOBS, unpack(ids))
  for i = 1, #ids do
    local m = {match(metas[i] or '', FIELDS)}
    local raw = raws[i] or ''
    if m[1] and sound(m, raw) then
      answers[#answers + 1] = metas[i] .. '\n' .. raw
    elseif m[1] then
      answers[#answers + 1] = 'X' .. ids[i] .. '\n' .. raw
    end
  end
end
return answers
