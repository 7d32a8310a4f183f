-- Every statement of the SQLite backend, named after the method that uses it.
--
-- state       one row: the store's clock, the last numbers given out, and the counts of jobs (Q9). Each step that
--             changes anything writes it in the same transaction.
-- job         one row a job. `record` is what the enqueuer said, as JSON, and never changes; `crc` is its checksum.
--             Everything else is what the queue knows. status: 0 pending, 1 running, 2 success, 3 failed,
--             4 quarantined. A pending job is ready when `due_us` is NULL. Times are epoch microseconds.
-- quarantine  why the record of a job cannot be read, in the order of the finds (Q13).
--             `big`: its record, result or recorded outputs take long to remove.
-- progress    recorded outputs of tasks (D5); `gone` names the purged jobs whose outputs are still to be removed.
--
-- Where a parameter may be NULL, a value of the wrong type stands for it: 0 for a text, NULLIF(?, 0), and '' for a
-- number, NULLIF(?, ''). Python's sqlite3 takes longer to bind one None than SQLite takes to store it.
--
-- Statements name their index: without statistics the planner takes a wrong one, and sorts a million rows to deliver
-- the first. An index that no longer fits is then an error, not a slow queue.

-- name: schema_state
CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    boot_id TEXT,
    offset_us INTEGER NOT NULL,
    seen_us INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    ticket INTEGER NOT NULL,
    token INTEGER NOT NULL,
    pending INTEGER NOT NULL,
    running INTEGER NOT NULL,
    success INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    ready INTEGER NOT NULL
)

-- name: schema_state_row
INSERT INTO state
VALUES (1, NULL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

-- name: schema_job
CREATE TABLE job (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    status INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL,
    ticket INTEGER,
    ready_us INTEGER,
    due_us INTEGER,
    enqueued_us INTEGER NOT NULL,
    started_us INTEGER,
    finished_us INTEGER,
    token INTEGER,
    worker_id TEXT,
    expires_us INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    crashes INTEGER NOT NULL DEFAULT 0,
    settled_token INTEGER,
    settled_status INTEGER,
    progress_size INTEGER NOT NULL DEFAULT 0,
    big INTEGER NOT NULL DEFAULT 0,
    not_before TEXT,
    crc INTEGER NOT NULL,
    record TEXT NOT NULL,
    error TEXT,
    result TEXT
)

-- name: schema_job_known
CREATE UNIQUE INDEX job_known
ON job (id)

-- name: schema_job_ready
CREATE INDEX job_ready
ON job (priority DESC, ticket)
WHERE status = 0 AND due_us IS NULL

-- name: schema_job_delayed
CREATE INDEX job_delayed
ON job (due_us)
WHERE due_us IS NOT NULL

-- name: schema_job_leased
CREATE INDEX job_leased
ON job (expires_us, token)
WHERE status = 1

-- name: schema_job_finished
CREATE INDEX job_finished
ON job (finished_us, status, big)
WHERE finished_us IS NOT NULL

-- name: schema_job_listed
CREATE INDEX job_listed
ON job (status, enqueued_us)

-- name: schema_quarantine
CREATE TABLE quarantine (
    number INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL UNIQUE,
    reason TEXT NOT NULL
)

-- name: schema_progress
CREATE TABLE progress (
    number INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    size INTEGER NOT NULL,
    output TEXT NOT NULL,
    UNIQUE (seq, task_id)
)

-- name: schema_gone
CREATE TABLE gone (
    seq INTEGER PRIMARY KEY
)

-- name: schema_worker
CREATE TABLE worker (
    id TEXT NOT NULL PRIMARY KEY,
    beat_us INTEGER NOT NULL,
    info TEXT NOT NULL
) WITHOUT ROWID

-- name: schema_schedule
CREATE TABLE schedule (
    key TEXT NOT NULL PRIMARY KEY,
    tick TEXT NOT NULL
) WITHOUT ROWID

-- name: schema_application_id
PRAGMA application_id = 1869767528

-- name: schema_version
PRAGMA user_version = 1

-- name: whose
SELECT
    (SELECT application_id FROM pragma_application_id),
    (SELECT user_version FROM pragma_user_version),
    (SELECT count(*) FROM sqlite_master)

-- name: journal
PRAGMA journal_mode

-- name: journal_wal
PRAGMA journal_mode = WAL

-- name: synchronous_normal
PRAGMA synchronous = NORMAL

-- name: synchronous_full
PRAGMA synchronous = FULL

-- name: tune_cache
PRAGMA cache_size = -16000

-- name: tune_checkpoint
PRAGMA wal_autocheckpoint = 0

-- name: tune_delete
PRAGMA secure_delete = FAST

-- name: begin
BEGIN IMMEDIATE

-- name: commit
COMMIT

-- name: rollback
ROLLBACK

-- name: tidy
PRAGMA wal_checkpoint(PASSIVE)

-- name: tidy_patience
PRAGMA busy_timeout = 50

-- name: tidy_empty
PRAGMA wal_checkpoint(TRUNCATE)

-- name: tidy_done
PRAGMA busy_timeout = 0

-- name: touch
UPDATE state
SET seq = seq

-- name: step
SELECT
    CASE WHEN boot_id = ? THEN offset_us END,
    seen_us,
    seq,
    ticket,
    token,
    (SELECT due_us FROM job INDEXED BY job_delayed WHERE due_us IS NOT NULL ORDER BY due_us LIMIT 1),
    (SELECT expires_us FROM job INDEXED BY job_leased WHERE status = 1 ORDER BY expires_us LIMIT 1)
FROM state

-- name: boot
UPDATE state
SET
    boot_id = ?,
    offset_us = ?

-- name: save
UPDATE state
SET
    seen_us = max(seen_us, ?),
    seq = ?,
    ticket = ?,
    token = ?,
    pending = pending + ?,
    running = running + ?,
    success = success + ?,
    failed = failed + ?,
    quarantined = quarantined + ?,
    ready = ready + ?

-- name: known
SELECT 1
FROM job INDEXED BY job_known
WHERE id = ?

-- name: enqueue
INSERT INTO job (seq, ticket, ready_us, due_us, id, priority, enqueued_us, crc, record)
VALUES (?, NULLIF(?, ''), NULLIF(?, ''), NULLIF(?, ''), ?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING

-- name: enqueue_whole
INSERT INTO job (
    seq, ticket, ready_us, due_us, id, priority, enqueued_us, crc, record,
    attempts, failures, crashes, big, not_before, error, result
)
VALUES (
    ?, NULLIF(?, ''), NULLIF(?, ''), NULLIF(?, ''), ?, ?, ?, ?, ?,
    ?, ?, ?, ?, NULLIF(?, 0), NULLIF(?, 0), NULLIF(?, 0)
)
ON CONFLICT (id) DO NOTHING

-- name: enqueued
SELECT count(*), count(due_us)
FROM job
WHERE seq > ?

-- name: promote
UPDATE job
SET
    ticket = :ticket + due.place,
    ready_us = :now,
    due_us = NULL
FROM (
    SELECT seq, row_number() OVER (ORDER BY due_us, seq) AS place
    FROM job INDEXED BY job_delayed
    WHERE due_us <= :now
) AS due
WHERE job.seq = due.seq

-- name: expired
SELECT *
FROM job INDEXED BY job_leased
WHERE status = 1 AND expires_us <= ?
ORDER BY expires_us, token
LIMIT ?

-- name: ready
SELECT seq, attempts, failures, crashes, crc, record, error, result
FROM job INDEXED BY job_ready
WHERE status = 0 AND due_us IS NULL
ORDER BY priority DESC, ticket
LIMIT ?

-- name: deliver
UPDATE job
SET
    status = 1,
    attempts = attempts + 1,
    started_us = ?,
    not_before = NULL,
    token = ?,
    worker_id = ?,
    expires_us = ?
WHERE seq = ? AND status = 0

-- name: find
SELECT *
FROM job INDEXED BY job_known
WHERE id = ?

-- name: find_again
SELECT *
FROM job
WHERE seq = ?

-- name: settle
UPDATE job
SET
    status = ?,
    ticket = NULLIF(?, ''),
    ready_us = NULLIF(?, ''),
    due_us = NULLIF(?, ''),
    started_us = NULLIF(?, ''),
    finished_us = NULLIF(?, ''),
    token = NULL,
    worker_id = NULL,
    expires_us = NULL,
    failures = ?,
    crashes = ?,
    settled_token = NULLIF(?, ''),
    settled_status = NULLIF(?, ''),
    not_before = NULLIF(?, 0),
    error = NULLIF(?, 0),
    result = NULLIF(?, 0),
    big = max(big, ?)
WHERE seq = ?

-- name: held
SELECT seq, token, started_us, attempts, failures, crashes, crc, record, id
FROM job INDEXED BY job_known
WHERE id = ? AND status = 1

-- name: held_many
SELECT seq, token, started_us, attempts, failures, crashes, crc, record, job.id
FROM json_each(?) AS asked
CROSS JOIN job INDEXED BY job_known ON job.id = asked.value
WHERE status = 1

-- name: finish
UPDATE job
SET
    status = ?,
    finished_us = ?,
    failures = ?,
    settled_token = token,
    settled_status = ?,
    token = NULL,
    worker_id = NULL,
    expires_us = NULL,
    error = NULLIF(?, 0),
    result = NULLIF(?, 0),
    big = max(big, ?)
WHERE seq = ? AND status = 1

-- name: extend
UPDATE job INDEXED BY job_known
SET expires_us = max(expires_us, ?)
WHERE id = ? AND token = ? AND status = 1
RETURNING expires_us, worker_id

-- name: progress_before
SELECT job.seq, job.progress_size, progress.size
FROM job INDEXED BY job_known
LEFT JOIN progress ON progress.seq = job.seq AND progress.task_id = ?
WHERE job.id = ? AND job.token = ? AND job.status = 1

-- name: record_progress
INSERT INTO progress (seq, task_id, size, output)
VALUES (?, ?, ?, ?)
ON CONFLICT (seq, task_id) DO UPDATE
SET
    size = excluded.size,
    output = excluded.output

-- name: progress_size
UPDATE job
SET
    progress_size = ?,
    big = 1
WHERE seq = ?

-- name: progress
SELECT progress.task_id, progress.output
FROM job INDEXED BY job_known
JOIN progress ON progress.seq = job.seq
WHERE job.id = ? AND job.status < 4
ORDER BY progress.number

-- name: forget_progress
DELETE FROM progress
WHERE seq = ?

-- name: list
SELECT *
FROM job INDEXED BY job_listed
WHERE status = ?
ORDER BY enqueued_us DESC, seq DESC
LIMIT ?

-- name: list_all
SELECT * FROM job INDEXED BY job_listed WHERE status = 0
UNION ALL
SELECT * FROM job INDEXED BY job_listed WHERE status = 1
UNION ALL
SELECT * FROM job INDEXED BY job_listed WHERE status = 2
UNION ALL
SELECT * FROM job INDEXED BY job_listed WHERE status = 3
ORDER BY enqueued_us DESC, seq DESC
LIMIT ?

-- name: counts
SELECT pending, running, success, failed
FROM state

-- name: stats
WITH RECURSIVE lane (priority) AS (
    SELECT (
        SELECT priority
        FROM job INDEXED BY job_ready
        WHERE status = 0 AND due_us IS NULL
        ORDER BY priority DESC
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT job.priority
        FROM job INDEXED BY job_ready
        WHERE job.status = 0 AND job.due_us IS NULL AND job.priority < lane.priority
        ORDER BY job.priority DESC
        LIMIT 1
    )
    FROM lane
    WHERE lane.priority IS NOT NULL
)
SELECT
    CASE WHEN boot_id = ? THEN offset_us END,
    seen_us,
    pending,
    running,
    success,
    failed,
    quarantined,
    ready,
    (
        SELECT min((
            SELECT ready_us
            FROM job INDEXED BY job_ready
            WHERE status = 0 AND due_us IS NULL AND job.priority = lane.priority
            ORDER BY ticket
            LIMIT 1
        ))
        FROM lane
        WHERE lane.priority IS NOT NULL
    )
FROM state

-- name: contain
UPDATE job
SET
    status = 4,
    due_us = NULL,
    finished_us = NULL,
    token = NULL
WHERE seq = ?

-- name: contain_reason
INSERT INTO quarantine (seq, reason)
VALUES (?, ?)

-- name: contained
SELECT reason
FROM quarantine
WHERE seq = ?

-- name: quarantined
SELECT job.id, job.record, quarantine.reason
FROM quarantine
JOIN job ON job.seq = quarantine.seq
ORDER BY quarantine.number

-- name: plant_record
UPDATE job
SET record = ?
WHERE id = ?

-- name: beat
INSERT INTO worker (id, beat_us, info)
VALUES (?, ?, '{}')
ON CONFLICT (id) DO UPDATE
SET beat_us = excluded.beat_us

-- name: announce
INSERT INTO worker (id, beat_us, info)
VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE
SET
    beat_us = excluded.beat_us,
    info = excluded.info

-- name: workers_gone
DELETE FROM worker
WHERE beat_us < ?

-- name: workers
WITH held (worker_id, job_id) AS MATERIALIZED (
    SELECT worker_id, id
    FROM job INDEXED BY job_leased
    WHERE status = 1
)
SELECT worker.id, worker.beat_us, worker.info, held.job_id
FROM worker
LEFT JOIN held ON held.worker_id = worker.id

-- name: clock
SELECT CASE WHEN boot_id = ? THEN offset_us END, seen_us
FROM state

-- name: schedule_cursor
SELECT tick
FROM schedule
WHERE key = ?

-- name: schedule_cursors
SELECT key, tick
FROM schedule
WHERE key IN (SELECT value FROM json_each(?))

-- name: advance_schedule
INSERT INTO schedule (key, tick)
VALUES (?, ?)
ON CONFLICT (key) DO UPDATE
SET tick = excluded.tick

-- name: purge_look
SELECT count(*), sum(status = 2), max(big)
FROM (
    SELECT status, big
    FROM job INDEXED BY job_finished
    WHERE finished_us < ?
    ORDER BY finished_us, status, big, seq
    LIMIT ?
)

-- name: purge
DELETE FROM job
WHERE seq IN (
    SELECT seq
    FROM job INDEXED BY job_finished
    WHERE finished_us < ?
    ORDER BY finished_us, status, big, seq
    LIMIT ?
)

-- name: purge_find
SELECT seq, status, progress_size
FROM job INDEXED BY job_finished
WHERE finished_us < ?
ORDER BY finished_us, status, big, seq
LIMIT ?

-- name: purge_one
DELETE FROM job
WHERE seq = ?

-- name: purge_gone
INSERT INTO gone (seq)
VALUES (?)

-- name: purge_next
SELECT seq
FROM gone
LIMIT 1

-- name: purge_progress
DELETE FROM progress
WHERE number IN (
    SELECT number
    FROM progress
    WHERE seq = ?
    LIMIT 4
)

-- name: purge_done
DELETE FROM gone
WHERE seq = ?

-- name: changed
PRAGMA data_version

-- name: wait
SELECT
    CASE WHEN boot_id = ? THEN offset_us END,
    seen_us,
    ready,
    (SELECT due_us FROM job INDEXED BY job_delayed WHERE due_us IS NOT NULL ORDER BY due_us LIMIT 1),
    (SELECT expires_us FROM job INDEXED BY job_leased WHERE status = 1 ORDER BY expires_us LIMIT 1)
FROM state
