-- A job's fields and record from what meta and jobs hold of it; or nil and the answer that says why not.
local function opened(id, meta, raw)
  if not meta then
    return nil, raw and 'X' .. id .. '\n' .. raw or 'N'
  end
  local m = {match(meta, FIELDS)}
  if not m[1] then
    return nil, 'Q' .. (call('HGET', QUARANTINE, id) or '')
  end
  raw = raw or ''
  if not sound(m, raw) then
    return nil, 'X' .. id .. '\n' .. raw
  end
  return m, raw
end
