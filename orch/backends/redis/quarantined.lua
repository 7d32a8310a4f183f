-- The quarantine: number, id, record of each.
-- include prelude
local held = call('HGETALL', QUARANTINE)
local answers = {}
for i = 1, #held, 2 do
  local meta = call('HGET', META, held[i])
  answers[#answers + 1] = meta and match(meta, '^q (%d+)$') or '0'
  answers[#answers + 1] = held[i]
  answers[#answers + 1] = held[i + 1]
end
return answers
