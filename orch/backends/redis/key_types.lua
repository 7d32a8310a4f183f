-- What is stored under each key: its type, or none.
local types = {}
for i = 1, #KEYS do
  types[i] = redis.call('TYPE', KEYS[i]).ok
end
return types
