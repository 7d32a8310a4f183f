-- The workers that beat within ARGV 3 us; the others are forgotten. Answers how many there are, then per worker its
-- id, last beat, what it announced or ''; then per running job its worker and its id.
-- include prelude
local dead = call('ZRANGEBYSCORE', WORKERS, '-inf', '(' .. format('%.0f', now - ARGV[3]))
for i = 1, #dead do
  call('ZREM', WORKERS, dead[i])
  call('HDEL', ANNOUNCED, dead[i])
end
local alive = call('ZRANGE', WORKERS, 0, -1, 'WITHSCORES')
local answers = {#alive / 2}
for i = 1, #alive, 2 do
  answers[#answers + 1] = alive[i]
  answers[#answers + 1] = alive[i + 1]
  answers[#answers + 1] = call('HGET', ANNOUNCED, alive[i]) or ''
end
local held = call('ZRANGE', LEASES, 0, -1)
for i = 1, #held do
  local id = sub(held[i], 17)
  local m = {match(call('HGET', META, id) or '', FIELDS)}
  if m[1] and m[WORKER] ~= '' then
    answers[#answers + 1] = m[WORKER]
    answers[#answers + 1] = id
  end
end
return answers
