-- The queue's own numbers, from the start of `found`: what HMGET said of \0n, \0token, \0next, \0idle.
local last, token = tonumber(found[1] or 0), tonumber(found[2] or 0)
local next_us, idle = tonumber(found[3] or now), tonumber(found[4] or -1e9)
local was_last, was_token, was_next, was_idle = last, token, next_us, idle
