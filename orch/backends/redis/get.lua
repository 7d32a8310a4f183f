-- One job. ARGV 3 id. Answers meta \n record, or N, Q record, X.
local m, raw = read(ARGV[3])
return m and concat(m, ' ') .. '\n' .. raw or raw
