"""The queue in Redis or Valkey, for many machines: one Lua script per verb, one round trip, one atomic step.

The scripts are in `redis/`, one file a verb; `prelude.lua` describes the keys. Time is the server's. Here arguments
become bytes and answers become values; what a record may look like is decided by `orch.job.decode_record` alone, so a
script that meets a record it did not write stops before it and lets `_settle` decide (Q13).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from orch import checks
from orch.backends.base import BEAT_S, BEATS_MISSED_MAX, BulkQueue, checked_worker
from orch.backends.redis_wire import Wire, client_of, pack
from orch.clock import Clock, iso, iso_to_us, to_us
from orch.errors import (
    BackendUnavailable,
    IllegalTransition,
    InvalidInput,
    JobNotFound,
    LeaseLost,
    OrchError,
    UnreadableRecord,
)
from orch.job import (
    STATES,
    CursorMove,
    Job,
    JobStatus,
    Lease,
    Quarantined,
    QueueStats,
    Report,
    WorkerInfo,
    crash_limit_error,
    decode_record,
    event_of_report,
    issued_lease,
)
from orch.queue import LEASE_S, MAX_CRASHES, RECLAIM_MAX, SLICE_MAX, SWEEP_S

PREFIX = "orch:queue"
VERSION_MIN = (6, 2)
PURGE_SLICE = 150  # jobs a step: about a millisecond of the server's time (Q10)
_PURGE_LARGE = 25  # as so many counts one with a record over 32 KiB
_BLOCK_SHARE = 0.8  # of the socket time-out, that a blocking wait may last
_BEAT_APART_S = 0.5
_SILENT_S = 24 * 3600.0  # a worker that was silent for so long is forgotten even if nobody lists the workers

# The keys, in the order of KEYS: what scripts call them, what they are called in the store, their types.
_KEYS = {
    "JOBS": ("jobs", "hash"),
    "META": ("meta", "hash"),
    "PENDING": ("pending", "list"),
    "READY": ("ready", "zset"),
    "DELAYED": ("delayed", "zset"),
    "LEASES": ("leases", "zset"),
    "OF_PENDING": ("listed:pending", "zset"),
    "OF_RUNNING": ("listed:running", "zset"),
    "OF_SUCCESS": ("listed:success", "zset"),
    "OF_FAILED": ("listed:failed", "zset"),
    "FINISHED": ("finished", "zset"),
    "WAKE": ("wake", "zset"),
    "WORKERS": ("workers", "zset"),
    "ANNOUNCED": ("announced", "hash"),
    "QUARANTINE": ("quarantine", "hash"),
    "SCHEDULES": ("schedules", "hash"),
}
_META = (
    *("PLACE", "ESEC", "ENUM", "LEN", "HEAD_LEN", "ATTEMPTS", "FAILURES", "CRASHES", "PRIORITY", "RETRIES"),
    *("TICKET", "AT", "ERROR_LEN", "RESULT_LEN", "SETTLED", "FLAG", "TOKEN", "EXPIRES", "WORKER"),
)
_NAMES = {
    **{name: f"KEYS[{i}]" for i, name in enumerate((*_KEYS, "PROGRESS"), 1)},
    **{name: str(i) for i, name in enumerate(_META, 1)},
    "FIELDS": "'^(%l)" + " (%S+)" * 13 + " (%S+ %S) (%S) (%S+) (%S+) (.*)$'",
}
_FOLDER = Path(__file__).with_suffix("")
_STATUS = {status.value: status for status in STATES}
_PLACES = {
    "l": JobStatus.PENDING,
    "z": JobStatus.PENDING,
    "d": JobStatus.PENDING,
    "r": JobStatus.RUNNING,
    "s": JobStatus.SUCCESS,
    "f": JobStatus.FAILED,
}
_LISTS = {status: b"%d" % (1 + list(_KEYS).index(f"OF_{status.name}")) for status in STATES}  # in KEYS
_LETTERS = {
    JobStatus.PENDING: b"p",
    JobStatus.RUNNING: b"r",
    JobStatus.SUCCESS: b"s",
    JobStatus.FAILED: b"f",
    JobStatus.RETRY: b"t",
}
_FIELDS = frozenset(field.name for field in fields(Job)) - {"lease", "extra"}  # of a job in its record
_HEAD = b'{"v":1,"status":"'
_NOW_IS_SERVERS = b"$0\r\n\r\n$0\r\n\r\n"
# The error of a job with too many crashes, around its number, which only the script knows.
_CRASHED = [part.encode() for part in json.dumps(crash_limit_error(12345)).split("12345")]
_parse = json.JSONDecoder().raw_decode


def open_redis(
    url: str, *, key_prefix: str = PREFIX, lease_s: float = LEASE_S, max_crashes: int = MAX_CRASHES
) -> RedisQueue:
    """The queue behind a URL, reached and checked before this returns.

    `redis://[[user]:password@]host[:port][/db]`, `rediss://…` (TLS), `unix:///path?db=0`, or
    `redis+sentinel://[[user]:password@]host[:port],…/service[/db]`; options of redis-py after `?` (not for Sentinels),
    `socket_timeout` among them (default 5 s). Raises `InvalidInput` for a URL that is none of these and
    `BackendUnavailable` for a store that cannot be used (Q15); no message shows a password.
    """
    shown_url = _without_secrets(url)
    client = client_of(url, shown_url=shown_url)
    return RedisQueue(client, key_prefix, lease_s=lease_s, max_crashes=max_crashes, _name=f"Redis at {shown_url}")


class RedisQueue(BulkQueue):
    """The contract of `PersistentQueue` in a Redis (6.2 or newer) or Valkey.

    `client` is a `redis.Redis`, a `redis.RedisCluster` or a fake; its settings are copied and its connections are not
    used, so neither its retries nor its `decode_responses` matter. `key_prefix` keeps queues of one database apart; in
    a cluster it needs a hash tag, as in `{orch}:queue`. `clock` replaces the server's time, in tests.
    The server is checked at once: raises `BackendUnavailable` where it cannot be reached, is older than 6.2, evicts
    keys, is a read-only replica, or is a cluster and the prefix has no hash tag (Q15).
    """

    def __init__(
        self,
        client: Any,
        key_prefix: str = PREFIX,
        *,
        lease_s: float = LEASE_S,
        max_crashes: int = MAX_CRASHES,
        clock: Clock | None = None,
        _name: str | None = None,
    ) -> None:
        super().__init__(lease_s=lease_s, max_crashes=max_crashes, clock=clock)
        checks.check_id(key_prefix, "key_prefix")
        self.key_prefix = key_prefix
        self._keys = {name: f"{key_prefix}:{key}".encode() for name, (key, _) in _KEYS.items()}
        self._progress_prefix = f"{key_prefix}:progress:".encode()
        self._packed_keys = pack(self._keys.values())
        self._calls: dict[tuple[str, int], bytes] = {}  # what a script's call begins with, by extra keys
        self._beats: dict[bytes, float] = {}  # worker -> when one was sent, on the monotonic clock
        self._next_at = 0.0  # on the monotonic clock: when the last empty exchange saw something come due
        self._wire = Wire(client, name=_name)
        try:
            self._check_server()
            self._check_keys()
        except BaseException:
            self._wire.close()
            raise

    def close(self) -> None:
        self._wire.close()

    # -- getting in ----------------------------------------------------------------------------------------------

    def _enqueue(self, jobs: Sequence[Job]) -> int:
        args: list[bytes] = []
        for job in jobs:
            args += (job.id.encode(), *_new_record(job))
        new: int = self._run("enqueue", args)
        return new

    # -- getting out, reports ------------------------------------------------------------------------------------

    def _exchange(
        self, reports: Sequence[Report], n: int, worker_id: str, lease_s: float
    ) -> tuple[list[Job | OrchError], list[Job]]:
        now = self._now()  # once: what is done in several steps because of a bad record happens at one time
        todo = [_packed_report(report) for report in reports]
        results: list[Job | OrchError] = []
        jobs: list[Job] = []
        reclaims = RECLAIM_MAX
        worker = worker_id.encode()
        head = [worker, self._beat(worker), b"%d" % to_us(lease_s), b"%d" % self.max_crashes]
        settled: set[str] = set()
        while True:
            args = [b"%d" % (n - len(jobs)), *head, b"%d" % reclaims, *_CRASHED, b"%d" % len(todo)]
            for packed in todo:
                args += packed
            answers: list[bytes] = self._run("exchange", args, now=now)
            done, reclaimed, next_us = map(int, answers[0].split())
            stopped = answers.pop() if len(answers) > 1 and answers[-1][:1] == b"X" else None
            for answer in answers[1 : 1 + done]:
                results.append(self._reported(reports[len(results)], answer))
            found = self._delivered(answers[1 + done :])
            jobs += found
            complete = stopped is None and len(found) == len(answers) - 1 - done
            if next_us >= 0:
                self._next_at = time.monotonic() + next_us / 1_000_000
            if complete:
                return results, jobs
            todo = todo[done:]
            reclaims -= reclaimed
            if stopped is not None:
                self._settle_once(stopped, settled)

    def _beat(self, worker: bytes) -> bytes:
        """The worker, if a beat of it is due: on the server's clock a few a second would say nothing new."""
        if self._clock is None:
            now = time.monotonic()
            if now - self._beats.get(worker, -1.0) < _BEAT_APART_S:
                return b""
            if len(self._beats) > SLICE_MAX:
                self._beats.clear()
            self._beats[worker] = now
        return worker

    def _reported(self, report: Report, answer: bytes) -> Job | OrchError:
        kind = answer[:1]
        if kind == b"L":
            assert report.lease is not None
            return _lease_lost(report.lease)
        if kind == b"I":
            try:
                event_of_report(
                    report.job_id,
                    _PLACES[answer[1:].decode()],
                    report.status,
                    leased=report.lease is not None,
                    failures=0,
                    max_retries=0,
                )
            except InvalidInput as error:
                return error
            raise AssertionError(f"a script refused a legal step: {report.status} of a job that is {answer!r}")
        try:
            return self._answered(report.job_id, answer)
        except OrchError as error:
            return error

    def _delivered(self, answers: Sequence[bytes]) -> list[Job]:
        jobs = []
        for answer in answers:
            try:
                jobs.append(_job_of(answer))
            except UnreadableRecord:  # a script sees the layout only; it is put away, and another one delivered
                raw = answer.partition(b"\n")[2]
                self._settle(_id_in(raw), raw)
        return jobs

    def _extend(self, leases: Sequence[Lease], lease_s: float) -> list[Lease | OrchError]:
        args = [b"%d" % to_us(lease_s)]
        for lease in leases:
            args += (lease.job_id.encode(), b"%016d" % lease.token)
        answers: list[Lease | OrchError] = []
        for lease, answer in zip(leases, self._run("extend", args), strict=True):
            error = _refusal(lease.job_id, answer, lease)
            if error is None:
                expires, _, worker = answer.decode().partition(" ")
                answers.append(issued_lease(lease.job_id, lease.token, worker, int(expires)))
            else:
                answers.append(error)
        return answers

    def _record_progress(self, lease: Lease, task_id: str, output: str) -> None:
        args = [lease.job_id.encode(), b"%016d" % lease.token, task_id.encode(), output.encode()]
        args.append(b"%d" % checks.PROGRESS_TOTAL_MAX)
        answer: bytes = self._run("record_progress", args, progress_of=[lease.job_id])
        if answer[:1] == b"B":
            raise InvalidInput(
                f"recorded outputs of job {lease.job_id!r} must be at most {checks.PROGRESS_TOTAL_MAX} bytes "
                f"in all, got {answer[1:].decode()}; keep large data elsewhere"
            )
        error = _refusal(lease.job_id, answer, lease)
        if error is not None:
            raise error

    def _requeue(self, job_id: str) -> Job:
        answer = self._ask("requeue", job_id)
        if answer[:1] == b"I":
            status = _PLACES[answer[1:].decode()]
            raise IllegalTransition(f"job {job_id!r} is {status.value}: only a failed job can be requeued")
        return self._answered(job_id, answer)

    # -- looking -------------------------------------------------------------------------------------------------

    def _get(self, job_id: str) -> Job | None:
        try:
            return self._answered(job_id, self._ask("get", job_id))
        except JobNotFound:
            return None

    def _list(self, status: JobStatus | None, limit: int) -> list[Job]:
        place = b"" if status is None else _LISTS[status]
        settled: set[str] = set()
        while True:  # again when a record turned out to be unreadable: the list must still be full
            jobs, whole = [], True
            for answer in self._run("list", [place, b"%d" % limit]):
                if answer[:1] == b"X":
                    self._settle_once(answer, settled)
                    whole = False
                    continue
                try:
                    jobs.append(_job_of(answer))
                except UnreadableRecord:
                    raw = answer.partition(b"\n")[2]
                    self._settle(_id_in(raw), raw)
                    whole = False
            if whole:
                return jobs

    def progress(self, job_id: str) -> dict[str, Any]:
        checks.check_id(job_id)
        found = self._wire.command(b"HGETALL", self._progress_prefix + job_id.encode())
        return {task.decode(): json.loads(output) for task, output in zip(found[::2], found[1::2], strict=True) if task}

    def counts(self) -> dict[JobStatus, int]:
        return dict(zip(STATES, self._run("counts", []), strict=True))

    def stats(self) -> QueueStats:
        *states, delayed, quarantined, oldest_us = self._run("stats", [])
        counts = dict(zip(STATES, states, strict=True))
        return QueueStats(
            counts=counts,
            ready=counts[JobStatus.PENDING] - delayed,
            delayed=delayed,
            quarantined=quarantined,
            oldest_ready_age_s=max(0.0, int(oldest_us) / 1_000_000) if oldest_us else None,
        )

    def quarantined(self) -> list[Quarantined]:
        flat = self._run("quarantined", [])
        rows = sorted((int(number), job_id, raw) for number, job_id, raw in zip(*[iter(flat)] * 3, strict=True))
        return [Quarantined(job_id.decode(), raw, _reason(raw)) for _, job_id, raw in rows]

    def workers(self) -> list[WorkerInfo]:
        silent_us = to_us(BEATS_MISSED_MAX * BEAT_S)
        count, *flat = self._run("workers", [b"%d" % silent_us])
        held: dict[str, list[str]] = {}
        for worker, job_id in zip(flat[3 * count :: 2], flat[3 * count + 1 :: 2], strict=True):
            held.setdefault(worker.decode(), []).append(job_id.decode())
        rows = []
        for worker, beat, said in zip(*[iter(flat[: 3 * count])] * 3, strict=True):
            worker_id = worker.decode()
            known = json.loads(said) if said else {}
            jobs = tuple(sorted(held.get(worker_id, ())))
            rows.append(WorkerInfo(worker_id, **known, last_beat_at=iso(int(float(beat))), jobs=jobs))
        return sorted(rows, key=lambda info: info.id)

    def announce(self, info: WorkerInfo) -> None:
        checked_worker(info)
        said = {
            name: getattr(info, name) for name in ("host", "pid", "started_at", "done", "failed", "slots", "blocked")
        }
        self._run("announce", [info.id.encode(), checks.dump_json(said).encode(), b"%d" % to_us(_SILENT_S)])

    def _cursors(self, keys: Sequence[str]) -> list[str | None]:
        ticks = self._wire.command(b"HMGET", self._keys["SCHEDULES"], *[key.encode() for key in keys])
        return [None if tick is None else tick.decode() for tick in ticks]

    def _advance(self, moves: Sequence[CursorMove]) -> list[bool]:
        args = []
        for move in moves:
            at = b"" if move.expected is None else b"=" + str(move.expected).encode("utf-8", "surrogatepass")
            args += [move.key.encode(), at, move.tick.encode()]
        return [moved == 1 for moved in self._run("advance_schedules", args)]

    # -- forgetting ----------------------------------------------------------------------------------------------

    def _purge(self, older_than_s: float) -> int:
        now = self._now()
        bounds = [b"%d" % to_us(older_than_s), b"%d" % PURGE_SLICE, b"%d" % _PURGE_LARGE]
        removed, more = 0, 1
        left: list[bytes] = []  # members of `finished`, which end with an id: jobs whose progress must be named
        while more:
            args = [*bounds, *left]
            count, more, *left = self._run("purge", args, now=now, progress_of=[member[20:] for member in left])
            removed += count
        return removed

    # -- waiting -------------------------------------------------------------------------------------------------

    def _wait(self, timeout_s: float) -> None:
        """Blocks on a key of its own, which one waiter is given when there is something to do; never on `pending`."""
        due_s = self._next_at - time.monotonic()
        if self._next_at and due_s < timeout_s:
            self._next_at = 0.0
            timeout_s = due_s
        block_s = min(timeout_s, SWEEP_S, self._wire.timeout_s * _BLOCK_SHARE)
        if block_s > 0:
            # Redis 6.2 takes a time-out of 1 ms for one without end.
            self._wire.command(b"BZPOPMIN", self._keys["WAKE"], b"%.3f" % max(block_s, 0.002))

    # -- records that scripts did not write ----------------------------------------------------------------------

    def plant_record(self, job_id: str, raw: bytes) -> None:
        """Replace the stored form of a job by these bytes, as a fault of a store would: to test Q13."""
        if not self._wire.command(b"HEXISTS", self._keys["META"], job_id.encode()):
            raise JobNotFound(f"no job {job_id!r} in this queue; plant_record replaces a stored record")
        self._wire.command(b"HSET", self._keys["JOBS"], job_id.encode(), raw)

    def _ask(self, script: str, job_id: str) -> bytes:
        """The answer about one job; again, as long as its record had to be settled first."""
        settled: set[str] = set()
        while True:
            answer: bytes = self._run(script, [job_id.encode()], progress_of=[job_id])
            if answer[:1] != b"X":
                return answer
            self._settle_once(answer, settled)

    def _answered(self, job_id: str, answer: bytes) -> Job:
        """The job of an answer, or the error that it stands for."""
        error = _refusal(job_id, answer, None)
        if error is not None:
            raise error
        try:
            return _job_of(answer)
        except UnreadableRecord:
            self._settle(job_id, answer.partition(b"\n")[2])
            return self._answered(job_id, self._ask("get", job_id))

    def _settle_once(self, stopped: bytes, settled: set[str]) -> None:
        """Settle what a script stopped at; being stopped by one job for ever would be a fault of ours."""
        job_id, _, raw = stopped[1:].partition(b"\n")
        name = job_id.decode()
        key = f"{name}\n{hashlib.sha256(raw).hexdigest()}"
        if key in settled:
            raise OrchError(
                f"the record of job {name!r} could not be settled; show it with HGET {self.key_prefix}:jobs"
            )
        settled.add(key)
        self._settle(name, raw)

    def _settle(self, job_id: str, raw: bytes) -> None:
        """A record that scripts cannot take as theirs is restored to their form, or goes into quarantine."""
        try:
            job = decode_record(raw)
            if job.id != job_id:
                raise UnreadableRecord(f"record cannot be read: it is of job {job.id!r}")
        except UnreadableRecord:
            self._run("quarantine", [job_id.encode(), raw], progress_of=[job_id])
            return
        self._run("restore", _restored(job_id, raw, job))

    # -- the scripts ---------------------------------------------------------------------------------------------

    def _now(self) -> bytes:
        """The handed-in clock as the scripts' first two arguments, packed; empty ones mean the server's time."""
        if self._clock is None:
            return _NOW_IS_SERVERS
        seconds, micros = divmod(to_us(self._clock()), 1_000_000)
        return pack((b"%d" % seconds, b"%d" % micros))

    def _run(
        self, name: str, args: Sequence[bytes], *, now: bytes | None = None, progress_of: Sequence[str | bytes] = ()
    ) -> Any:
        """Run a script; load it where the server does not have it, which is answered before anything is done."""
        keys = [self._progress_prefix + (x if isinstance(x, bytes) else x.encode()) for x in progress_of]
        head = self._calls.get((name, len(keys)))
        count = b"%d" % (len(_KEYS) + len(keys))
        if head is None:
            sha = hashlib.sha1(_script(name)).hexdigest().encode()  # noqa: S324  # the server's name for it
            head = pack((b"EVALSHA", sha, count)) + self._packed_keys
            self._calls[name, len(keys)] = head
        tail = pack(keys) + (self._now() if now is None else now) + pack(args)
        words = b"*%d\r\n" % (5 + len(_KEYS) + len(keys) + len(args))

        def whole() -> bytes:
            return words + pack((b"EVAL", _script(name), count)) + self._packed_keys + tail

        return self._wire.send(words + head + tail, whole=whole)

    # -- what a server must be -----------------------------------------------------------------------------------

    def _check_server(self) -> None:
        """Q15: never begin on a store that may forget jobs or refuse every write."""
        name = self._wire.name
        info = self._server_info()
        if not info:
            return
        version = tuple(int(part) for part in re.findall(r"\d+", info.get("redis_version", ""))[:2])
        if version < VERSION_MIN:
            raise BackendUnavailable(
                f"{name} is version {info.get('redis_version')}: orch needs Redis {'.'.join(map(str, VERSION_MIN))} "
                f"or newer, or Valkey"
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise BackendUnavailable(
                f"{name} has maxmemory-policy {policy} and would evict jobs: it must be noeviction"
            )
        if info.get("role") == "slave" and info.get("slave_read_only", "1") == "1":
            raise BackendUnavailable(f"{name} is a read-only replica: give the address of its master")
        if info.get("cluster_enabled") == "1" and not re.match(r"[^{]*\{[^}]+\}", self.key_prefix):
            raise BackendUnavailable(
                f"{name} is a cluster: the key prefix needs a hash tag that keeps a queue on one node, "
                f"as in {{orch}}:queue, got {self.key_prefix!r}"
            )
        if info.get("loading") == "1":
            raise BackendUnavailable(f"{name} is loading its data; try again in a moment")

    def _check_keys(self) -> None:
        """Another program's key under one of our names would stop a script half-way."""
        found = [kind.decode() for kind in self._run("key_types", [])]
        for (key, kind), actual in zip(_KEYS.values(), found, strict=True):
            if actual not in ("none", kind):
                raise BackendUnavailable(
                    f"{self._wire.name} has a {actual} under {self.key_prefix}:{key}, where the queue keeps a {kind}: "
                    f"choose another key prefix"
                )

    def _server_info(self) -> dict[str, str]:
        """What INFO says; empty for an emulation that has no INFO."""
        try:
            text: bytes = self._wire.command(b"INFO")
        except (BackendUnavailable, InvalidInput):
            raise
        except OrchError as error:
            if "unknown command" in str(error).lower():
                return {}
            raise BackendUnavailable(f"the server cannot be checked, which needs INFO: {error}") from error
        lines = text.decode("utf-8", "replace").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


_sources: dict[str, bytes] = {}


def _script(name: str) -> bytes:
    """A verb's script as the server gets it: files included, names in capitals replaced (see prelude.lua), no prose."""
    if name not in _sources:
        text = re.sub(r"^ *--.*\n", "", _included(name), flags=re.MULTILINE)
        _sources[name] = re.sub(r"[A-Z_]{2,}", lambda found: _NAMES.get(found[0], found[0]), text).encode()
    return _sources[name]


def _included(name: str) -> str:
    text = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
    return re.sub(r"^ *-- include (\w+)$", lambda line: _included(line[1]), text, flags=re.MULTILINE)


def _new_record(job: Job) -> tuple[bytes, bytes]:
    """A job as it is first stored: its record, and what the queue must know of it."""
    head = (
        f'{{"v":1,"status":"pending","started_at":null,"finished_at":null,"attempts":{job.attempts},'
        f'"failures":{job.failures},"crashes":{job.crashes},"not_before":{_json_of(job.not_before)},"error":'
    ).encode()
    error, result = _json_of(job.error).encode(), _json_of(job.result).encode()
    due = "- -" if job.not_before is None else " ".join(_instant(iso_to_us(job.not_before)))
    esec, eus = _instant(iso_to_us(job.enqueued_at))
    known = (
        f"{esec} {eus} {job.priority} {len(head)} {job.attempts} {job.failures} {job.crashes} {job.priority} "
        f"{job.max_retries} {len(error)} {len(result)} {due}"
    )
    return b"".join((head, error, b',"result":', result, _rest_of(job))), known.encode()


def _rest_of(job: Job) -> bytes:
    """What of a record never changes, from the comma on."""
    rest = {
        "id": job.id,
        "dag_path": job.dag_path,
        "tenant_id": job.tenant_id,
        "schedule_id": job.schedule_id,
        "enqueued_at": job.enqueued_at,
        "max_retries": job.max_retries,
        "params": job.params,
        "priority": job.priority,
        "timeout_s": job.timeout_s,
    }
    if job.extra:
        rest |= job.extra
    return b"," + checks.dump_json(rest)[1:].encode()


def _restored(job_id: str, raw: bytes, job: Job) -> list[bytes]:
    """The arguments of `restore`."""
    due = ("-", "-") if job.not_before is None else _instant(iso_to_us(job.not_before))
    finished_us = iso_to_us(job.finished_at or job.enqueued_at)
    texts = (
        *_instant(iso_to_us(job.enqueued_at)),
        str(job.priority),
        str(job.max_retries),
        str(job.attempts),
        str(job.failures),
        str(job.crashes),
        _LETTERS[job.status].decode(),
        _json_of(job.started_at),
        _json_of(job.finished_at),
        str(finished_us),
        _json_of(job.not_before),
        *due,
        _json_of(job.error),
        _json_of(job.result),
    )
    return [job_id.encode(), raw, *(text.encode() for text in texts), _rest_of(job), _LISTS[job.status]]


def _packed_report(report: Report) -> tuple[bytes, ...]:
    token = b"" if report.lease is None else b"%016d" % report.lease.token
    delay = (b"", b"")
    if report.delay_s:
        seconds, micros = divmod(to_us(report.delay_s), 1_000_000)
        delay = (b"%d" % seconds, b"%d" % micros)
    error = b"" if report.error is None else checks.dump_json(report.error).encode()
    result = b"" if report.result is None else checks.dump_json(report.result).encode()
    return (report.job_id.encode(), token, _LETTERS[report.status], error, result, *delay)


def _instant(us: int) -> tuple[str, str]:
    """Seconds, and microseconds of fixed width: how scripts keep an instant that a caller named."""
    seconds, micros = divmod(us, 1_000_000)
    return str(seconds), f"{micros:06d}"


def _json_of(value: Any) -> str:
    return "null" if value is None else checks.dump_json(value)


def _job_of(answer: bytes) -> Job:
    """The job of "meta, newline, record". Raises `UnreadableRecord`.

    The layout was checked by the script, so this need not look at every value again.
    """
    meta, _, raw = answer.partition(b"\n")
    try:
        text = raw.decode()
        data, end = _parse(text)
        if not raw.startswith(_HEAD) or end != len(text):
            raise ValueError("it is not as it was written")
        del data["v"]
        extra = {}
        if len(data) > len(_FIELDS):
            extra = {name: data.pop(name) for name in [*data] if name not in _FIELDS}
        if len(data) != len(_FIELDS):
            raise ValueError("fields are missing")
        status = data["status"] = _STATUS[data["status"]]
    except (ValueError, KeyError, RecursionError) as error:
        raise UnreadableRecord(f"record cannot be read: {error}") from None
    data["extra"] = extra
    data["lease"] = None
    if status is JobStatus.RUNNING:
        token, expires, worker = meta.split(b" ", 19)[17:]
        data["lease"] = issued_lease(data["id"], int(token), worker.decode(), int(expires))
    job = object.__new__(Job)
    job.__dict__.update(data)
    return job


def _id_in(raw: bytes) -> str:
    """The id in a record whose layout is sound but which is not JSON: it is the first of the last part."""
    found = re.search(rb',"result":.*?,"id":("(?:[^"\\]|\\.)*")', raw, re.DOTALL)
    return str(json.loads(found[1])) if found else ""


def _refusal(job_id: str, answer: bytes, lease: Lease | None) -> OrchError | None:
    """The error that an answer about one job stands for, or None."""
    kind = answer[:1]
    if kind == b"N":
        return JobNotFound(f"no job {job_id!r} in this queue; list_jobs shows what is there")
    if kind == b"Q":
        return UnreadableRecord(f"job {job_id!r} is in quarantine: {_reason(answer[1:])}")
    if kind == b"L" and lease is not None:
        return _lease_lost(lease)
    return None


def _lease_lost(lease: Lease) -> LeaseLost:
    return LeaseLost(
        f"lease {lease.token} is not the current one of job {lease.job_id!r}: it expired and was taken back, "
        f"or the job was settled; drop this attempt's work"
    )


def _reason(raw: bytes) -> str:
    """Why a record in quarantine cannot be read; found anew, so that nothing more than its bytes is kept."""
    try:
        decode_record(raw)
    except UnreadableRecord as error:
        return str(error)
    return "record cannot be read by the program that put it there; this one can"


def _without_secrets(url: object) -> str:
    """A URL for messages: no password, and no options, among which one may be."""
    if not isinstance(url, str):
        raise InvalidInput(f"a queue URL must be text, got {checks.shown(url)}")
    head, at, tail = url.rpartition("@")
    tail = re.split(r"[?#]", tail, maxsplit=1)[0]
    if not at:
        return tail
    scheme, sep, user = head.partition("://")
    return f"{scheme}{sep}{user.partition(':')[0]}:***@{tail}" if sep else f"***@{tail}"
