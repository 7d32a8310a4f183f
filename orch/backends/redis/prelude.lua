-- What every script of a queue begins with: the keys in prose, the names, the clock.
--
-- jobs        hash, id -> record: JSON with the true status. The head, up to "error", has a fixed layout that only
--             these scripts write; what follows is a client's JSON, which is cut and joined as bytes, never decoded:
--             {"v":1,"status":S,"started_at":T,"finished_at":T,"attempts":N,"failures":N,"crashes":N,"not_before":T,
--              "error":E,"result":R,"id":...}
-- meta        hash, id -> the fields below in one text: what the queue knows of a job without reading its record.
--             A job in quarantine has "q <number>" there, by which the quarantine is ordered. The queue's own numbers
--             stand there too, under names that no id can be: \0n the last number given (a first enqueue takes one,
--             which is its first ticket too; so does each later ticket), \0token the last token, \0next a time (us)
--             before which no lease expires and no delayed job is due, \0idle the second when a worker last got less
--             than it asked for.
-- pending     list of ids: ready jobs of priority 0 in ticket order
-- ready       sorted set of every other ready job: score -priority, member ticket .. id. A job that comes back with
--             its ticket is here; at priority 0 its ticket is lower than all in `pending`, so it precedes them.
-- delayed     sorted set: score due second, member due microseconds .. number .. id
-- leases      sorted set of running jobs: score expiry in us, member token .. id
-- listed:X    sorted set of the jobs in state X: score second of `enqueued_at`, member microseconds .. number .. id.
--             These four are also the counts.
-- finished    sorted set of final jobs, for purge: score us when they finished, member FLAG .. PLACE .. ENUM .. id
-- wake        sorted set of at most one member, put there when an idle worker should look; they block on it
-- workers     sorted set: score last beat in us, member worker id; announced: hash, worker id -> what it said
-- quarantine  hash, id -> bytes of a record that cannot be read
-- schedules   hash, schedule key -> last tick
-- progress:ID hash, task id -> output; the field "" is their size in bytes
--
-- Numbers that are ordered as text have a fixed width: numbers 12 digits, tickets and tokens 16. Seconds and
-- microseconds are kept apart where a caller may name any year: a double is exact to 2^53 only.
-- The first write of a script is one that a full server refuses, so that a refused script has changed nothing.
-- A script that meets a record which is not as it was written stops before it touches that job and answers
-- X id \n record: the client reads it, settles the matter (restore or quarantine) and goes on from there.
-- Other answers: N unknown id, L lease lost, I place: illegal step, Q record: in quarantine; else meta \n record.
--
-- The loader puts other files in place of `-- include` lines, and numbers in place of the names in capitals: keys by
-- their names above (listed:X is OF_X), and the fields of meta. Lua 5.1 has neither constants nor functions that
-- outlive a script, and it charges each call of a script for every function that it makes and for every variable
-- around which one is closed. So what must be fast is flat, and what is rare makes its functions when it comes to it.
--
-- The fields of meta. PLACE: l in pending, z in ready, d in delayed, r running, s success, f failed. ESEC, ENUM:
-- score and start of the member in a list. LEN, HEAD_LEN, ERROR_LEN, RESULT_LEN: bytes of the record, its head, its
-- error, its result. ATTEMPTS, FAILURES, CRASHES, PRIORITY, RETRIES (at most). TICKET. AT: when it took its ticket
-- (us), or the due microseconds of a delayed job. SETTLED: the pair of Q8. FLAG: p if it has progress, b if it is
-- final and large. TOKEN, EXPIRES, WORKER: of its lease. A field that says nothing is - (WORKER: empty).
local call, match, sub, format, concat = redis.call, string.match, string.sub, string.format, table.concat
local now_s, now_us = ARGV[1], ARGV[2]  -- the clock that was handed in, as seconds and microseconds; or empty
if now_s == '' then
  local time = call('TIME')
  now_s, now_us = time[1], time[2]
end
now_s, now_us = tonumber(now_s), tonumber(now_us)
local now = now_s * 1000000 + now_us
