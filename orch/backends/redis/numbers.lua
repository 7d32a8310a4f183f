-- Add to `metas`, fields and values for meta, those of the queue's own numbers that changed.
if last ~= was_last then
  metas[#metas + 1], metas[#metas + 2] = '\0n', format('%.0f', last)
end
if token ~= was_token then
  metas[#metas + 1], metas[#metas + 2] = '\0token', format('%.0f', token)
end
if next_us ~= was_next then
  metas[#metas + 1], metas[#metas + 2] = '\0next', format('%.0f', next_us)
end
if idle ~= was_idle then
  metas[#metas + 1], metas[#metas + 2] = '\0idle', format('%.0f', idle)
end
