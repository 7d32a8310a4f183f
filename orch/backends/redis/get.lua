-- One job. ARGV 3 id. Answers meta \n record, or N, Q record, X.
-- include prelude
-- include job
-- include opened
local meta = call('HGET', META, ARGV[3])
local m, raw = opened(ARGV[3], meta, call('HGET', JOBS, ARGV[3]))
return m and meta .. '\n' .. raw or raw
