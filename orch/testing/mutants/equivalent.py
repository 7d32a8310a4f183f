"""Mutants that behave as the original does, as far as anybody can see; each with the reason.

A pattern matches the whole key of a mutant: `function: operator: before => after`.
"""

from __future__ import annotations

#: Target -> (pattern of keys, reason).
EQUIVALENT: dict[str, tuple[tuple[str, str], ...]] = {
    "memory": (
        (r"_Newest\.newest: continue for break: .*", "nothing more is taken, it is only looked at"),
        (
            r"(_Newest\.newest|MemoryQueue\._enqueue): every third time not done: (self|everything)\.rebuild.*",
            "it is done the next time: a list is a little longer till then",
        ),
        (r"MemoryQueue\.(_enqueue|_list_in): other end: .*fresh\.append.*", "it is sorted before it is looked at"),
        (r"MemoryQueue\._report: always the second: .*copy_json.*", "a copy of None is None"),
        (r"MemoryQueue\._requeue: constant: 0 => 1 #3", "any time long ago is the time of no end"),
        (r"MemoryQueue\._head: every third time not done: .*", "the loop comes again"),
        (r"MemoryQueue\.workers: if True: lease is not None.*", "whoever is in _running holds a lease"),
        (r"MemoryQueue\.workers: other end: held.*", "it is sorted afterwards"),
        (
            r"MemoryQueue\._purge: condition dropped: .* and entry\.finished_us == finished_us",
            "an id is new again only after all its ends were taken from the heap",
        ),
        (r"MemoryQueue\._readable: (condition dropped|wrong field): .*entry\.ticket.*", "such a job is in no lane"),
        (
            r"_is_ready: condition dropped: .* => entry\.ticket == ticket and entry\.job\.status is PENDING",
            "a delayed job has the ticket 0, which stands in no lane",
        ),
    ),
    "sqlite": (
        (r"_(number|text): always the second: .*", "to bind None is only slower"),
        (r"_job: (if True|comparison): len\(data\) > _LEAST => (True|.*>=.*)", "there are no other keys"),
        (r"_Step\.__enter__: constant: 0 => 1 #7", "a microsecond of 1970 is before any time"),
        (r"_Step\.__enter__: every third time not done: .*boot.*", "the next step writes it down"),
        (r"_Step\.(enqueue: constant: 1 => 2.*|settle: constant: 1 => 2 #5)", "any step upwards would do"),
        (r"_Step\.enqueue: if False: len\(rows\) == 1 => False", "one is inserted as many are"),
        (
            r"(_Step\.(enqueue|_finish)|SqliteQueue\._exchange): done twice: (self|step)\.promote.*",
            "a second promotion finds nothing due",
        ),
        (r"_Step\.(deliver|_finish): other end: (deliveries|finished)\.append.*", "rows of one step, in any order"),
        (r"_Step\._finish: condition dropped: .* => report\.lease\.token != token", "`_held` asks for a lease, too"),
        (r"SqliteQueue\.workers: other end: .*", "it is sorted afterwards"),
        (
            r"sqlite\.sql (held|held_many|extend|progress_before): condition dropped: .*\((job\.)?status = 1 OR 1\).*",
            "a job that does not run has no token",
        ),
        (r"sqlite\.sql held: condition dropped: .*\(id = \? OR 1\).*", "more is read, and looked up by its id"),
        (r"sqlite\.sql finish: condition dropped: .*\(status = 1 OR 1\)", "it runs: the step has read it"),
        (r"sqlite\.sql stats: condition dropped: .*\(lane\.priority IS NOT NULL OR 1\).*", "no job has no priority"),
        (r"sqlite\.sql (stats: ORDER BY|(list|expired): order term) dropped: .*", "the index has this order"),
    ),
    "schedule": (
        (r"Cron\.latest: comparison: len\(found\) > n => .*>=.*", "one more only matters where it is a twin"),
        (r"Cron\.latest: continue for break: .*", "nothing more is taken, the days are only counted"),
        (r"Cron\.latest: constant: 1 => 2", "the search ends a day earlier"),
        (r"Cron\.__call__: condition dropped: zone is None or .*", "a time without a zone has no offset"),
        (r"Cron\.fires: constant: 1 => 2 #2", "a minute has one tick at most"),
        (r"_contents: constant: 1 => 2", "two more bytes than are allowed are as many as one more"),
        (r"Cron\._walls: constant: 60 => 61", "the search begins an hour earlier"),
        (r"Schedule\.__post_init__: if True: value is not given.*", "it is set to what it is"),
        (r"_check_params: condition dropped: .* => value is None", "an empty mapping is checked, and empty"),
        (r"_check_zone: constant: 64 => .*", "no zone has so long a name"),
        (r"check_schedules: other end: faults\..*", "they are sorted afterwards"),
        (r"_stretches: if False: stretches and .*", "each minute is a stretch, of the same times"),
    ),
    "dag": (
        (r"Task\.__post_init__: if True: self\.params or .*", "an empty dict is copied"),
        (r"payload_clashes: (comparison: at >= 0 => at > 0|constant: 0 => 1)", "no id is empty"),
        (r"_cycles: (if False: start in finished|statement deleted: continue).*", "all that it leads to is finished"),
        (r"_cycles: every third time not done: finished\.add\(gone\).*", "it is searched again, and is named already"),
        (r"_load: condition dropped: known is not None and same => same", "`same` asks for it, too"),
        (r"_load_new: if True: workflows is not None.*", "it raises the same again"),
        (r"_load_new: other end: max\(found\.st_size.*", "the two differ only while it is written"),
        (r"_load_new: constant: 1 => 2", "two more bytes than are allowed are as many as one more"),
        (r"_read: always the second: .*", "there is no DAG where there are faults"),
        (r"_read_dag: condition dropped: name or written => written", "a name is what is written, where it is one"),
        (
            r"_read_task: condition dropped: (task_id or written => written|params or \{\} => params).*",
            "the two are equal where they are used",
        ),
        (r"_required: always the second: .*", "`checked` answers None for what is not there"),
        (r"_judge_drafts: if True: node is not None .*", "only what is there is judged"),
    ),
    "worker": (
        (r"report_of: exception swallowed: raise AssertionError.*", "nobody reports an attempt that was lost"),
        (r"retry_delay: constant: 60 => .*", "2 ** 59 times any wait is more than any cap"),
        (r"_Work\.life: if True: self\.ends.*", "`_end` finds no end for whoever was given none"),
        (r"_Work\.life: condition dropped: .*state\.stopping is None.*", "`_free` is 0 for whoever stops"),
        (r"_Work\._start: if True: not self\.config\.quiet.*", "`_say` asks for it, too"),
        (r"_Work\._claimed: (statement deleted: self\.keys|constant: 1 => 2).*", "keys of what never starts"),
        (r"_Work\._may_exchange: .*self\.state\.running.*", "a burst in which nothing runs has ended"),
        (r"_Work\._exchange: constant: 0\.0 => 1\.0", "the past stands for at once"),
        (r"_Work\._exchange: condition dropped: .* => bool\(state\.unreported\)", "only who goes singly leaves some"),
        (r"_Work\._settle: if True: events.*", "nothing is recorded in an empty Record"),
        (r"_Work\._until: always the second: self\.report_at.*", "the two are the same after an outage, and past else"),
        (r"_Work\._leave: condition dropped: .* => state\.unreported and self\.now.*", "nothing runs any more there"),
        (r"_Work\._end: condition dropped: .* => state\.running or state\.unreported", "no claim is under way there"),
        (r"keep_leases: constant: 0\.0 => 1\.0", "the past stands for at once"),
        (r"_Work\._until: other end: times\..*", "the least is taken"),
        (r"_Work\._to_report: if True: isinstance.*", "`report_of` takes the delay of a Retry only"),
    ),
}
