-- Keep leases. ARGV 3 lease in us, then per lease: id, token.
-- Answers for each the expiry and the worker of the lease that is now in force, or N, L, Q record.
-- include prelude
local expires = now + ARGV[3]
local answers = {}
for i = 4, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  local meta = call('HGET', META, id)
  local m = {match(meta or '', FIELDS)}
  local answer
  if not m[1] then
    answer = meta and 'Q' .. (call('HGET', QUARANTINE, id) or '')
      or call('HEXISTS', JOBS, id) == 1 and 'L' or 'N'
  elseif m[TOKEN] ~= token then
    answer = 'L'
  else
    if tonumber(m[EXPIRES]) < expires then
      m[EXPIRES] = format('%.0f', expires)
      call('HSET', META, id, concat(m, ' '))
      call('ZADD', LEASES, m[EXPIRES], token .. id)
    end
    if m[WORKER] ~= '' then
      call('ZADD', WORKERS, format('%.0f', now), m[WORKER])
    end
    answer = m[EXPIRES] .. ' ' .. m[WORKER]
  end
  answers[#answers + 1] = answer
end
return answers
