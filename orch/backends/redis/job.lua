-- How a job's record is read and written. These functions close around nothing.

-- Whether a record is as it was written: its parts begin and end where its meta says.
local function sound(m, raw)
  local sub = string.sub
  local at = m[HEAD_LEN] + 1  -- of the error's value
  if #raw ~= tonumber(m[LEN]) or sub(raw, 1, 17) ~= '{"v":1,"status":"' or sub(raw, at - 9, at - 1) ~= ',"error":' then
    return false
  end
  at = at + m[ERROR_LEN]
  if sub(raw, at, at + 9) ~= ',"result":' then
    return false
  end
  at = at + 10 + m[RESULT_LEN]
  return sub(raw, at, at + 6) == ',"id":"'
end

-- The record of a job whose fields are settled, but for its lengths: the head, the error's JSON and all that follows.
local function record(m, status, started, finished, not_before, tail)
  local head = '{"v":1,"status":"' .. status .. '","started_at":' .. started .. ',"finished_at":' .. finished
    .. ',"attempts":' .. m[ATTEMPTS] .. ',"failures":' .. m[FAILURES] .. ',"crashes":' .. m[CRASHES]
    .. ',"not_before":' .. not_before .. ',"error":'
  m[HEAD_LEN], m[LEN] = #head, #head + #tail
  return head .. tail
end

-- An instant as JSON text, as Python writes it: 2026-11-24T10:00:00.000001+00:00, microseconds left out when 0.
-- The date is Howard Hinnant's civil_from_days, https://howardhinnant.github.io/date_algorithms.html
local function iso(seconds, micros)
  local floor, format = math.floor, string.format
  local days = floor(seconds / 86400)
  local rest = seconds - days * 86400
  local z = days + 719468
  local era = floor(z / 146097)
  local doe = z - era * 146097
  local yoe = floor((doe - floor(doe / 1460) + floor(doe / 36524) - floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + floor(yoe / 4) - floor(yoe / 100))
  local mp = floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  local year = yoe + era * 400 + (month <= 2 and 1 or 0)
  local fraction = micros == 0 and '' or format('.%06d', micros)
  return format('"%04d-%02d-%02dT%02d:%02d:%02d%s+00:00"', year, month, doy - floor((153 * mp + 2) / 5) + 1,
    floor(rest / 3600), floor(rest / 60) % 60, rest % 60, fraction)
end
