"""Mutants that behave as the original does, as far as anybody can see; each with the reason.

A pattern matches the whole key of a mutant: `function: operator: before => after`.
"""

from __future__ import annotations

#: Target -> (pattern of keys, reason).
EQUIVALENT: dict[str, tuple[tuple[str, str], ...]] = {
    "memory": (
        (r"_Newest\.add: other end: self\._fresh.*", "what is fresh is sorted before it is looked at"),
        (r"_Newest\.newest: continue for break: .*", "nothing more is taken, it is only looked at"),
        (r"_Newest\._merge: assignment deleted: self\._fresh = \[\].*", "what stands twice is listed once"),
        (r"MemoryQueue\._enqueue: if True: not new.*", "a second promotion at the same instant finds nothing due"),
        (r"MemoryQueue\._make_pending: (assignment deleted|constant): .*", "tickets of delayed jobs are not looked at"),
        (r"MemoryQueue\._extend: (if True|wrong field): .*expires_us.*", "the same lease stands in the heap twice"),
        (r"MemoryQueue\._requeue: constant: 0 => 1 #3", "any time long ago is the time of no end"),
        (r"MemoryQueue\._head: every third time not done: .*", "the loop comes again"),
        (r"MemoryQueue\.workers: if True: lease is not None.*", "whoever is in _running holds a lease"),
        (r"MemoryQueue\.workers: other end: held.*", "it is sorted afterwards"),
        (
            r"MemoryQueue\._purge: condition dropped: .* and entry\.finished_us == finished_us",
            "an id is new again only after all its ends were taken from the heap",
        ),
        (r"MemoryQueue\._readable: (condition dropped|wrong field): .*entry\.ticket.*", "such a job is in no lane"),
        (r"MemoryQueue\._readable: assignment deleted: entry\.raw = None.*", "reading it again finds the same"),
        (
            r"_is_ready: condition dropped: .* => entry\.ticket == ticket and entry\.job\.status is PENDING",
            "a delayed job has the ticket 0, which stands in no lane",
        ),
    ),
    "sqlite": (
        (r"_new: if True: job\.(params|timeout_s).*", "a field that has its default may be written or not"),
        (r"_job: if False: crc32.*", "the slow way reads the same"),
        (r"_job: comparison: len\(data\) > _LEAST => .*>=.*", "there are no other keys then"),
        (r"_Step\.__exit__: if False: changed => False #3", "wakes who waits: tests of waiting in QueueContract"),
        (r"_Step\.enqueue: constant: 1 => 2.*", "any step upwards would do, and any way to insert one"),
        (r"_Step\.promote: constant: False => True", "the job is read once more"),
        (r"_Step\.promote: assignment deleted: self\.due_us.*", "a second promotion finds nothing due"),
        (r"_Step\.(reclaim|deliver): break for continue.*", "the loop comes again"),
        (r"_Step\.deliver: if True: deliveries.*", "nothing is delivered"),
        (r"_Step\.reports: always the first: .*", "the slow way reports the same"),
        (r"_Step\._finish: always the second: .*", "a result that is null is none"),
        (r"_Step\.contain: condition dropped: .*", "it is still there: the step has the store for itself"),
        (r"SqliteQueue\._exchange: done twice: step\.promote.*", "a second promotion finds nothing due"),
        (r"SqliteQueue\.workers: other end: .*", "it is sorted afterwards"),
        (r"sqlite\.sql step: LIMIT (dropped|off by one).*", "the first row is taken"),
        (r"sqlite\.sql known: constant: .*", "whether there is a row is asked"),
        (r"sqlite\.sql held(_many)?: constant: .*", "the slow way reports the same"),
        (r"sqlite\.sql finish: assignment dropped: .*expires_us = iif.*", "only looked at while a job runs"),
        (r"sqlite\.sql progress_size: constant: .*big = 2.*", "any number but 0"),
        (r"sqlite\.sql stats: (LIMIT|ORDER BY dropped).*", "the first row is taken; the index has this order"),
        (r"sqlite\.sql workers_gone: comparison: .*", "whoever is that late is not listed either way"),
    ),
    "dag": (
        (r"Task\.__post_init__: if True: self\.params or .*", "an empty dict is copied"),
        (r"payload_clashes: (comparison: at >= 0 => at > 0|constant: 0 => 1)", "no id is empty"),
        (r"_judge: if True: (task\.params|len\(order\) < len\(tasks\)) .*", "there is nothing to find"),
        (r"_judge: comparison: len\(order\) < len\(tasks\) => .*<=.*", "there is nothing to find"),
        (r"_cycles: (if False: start in finished|statement deleted: continue).*", "all that it leads to is finished"),
        (r"_cycles: condition dropped: path\[-1\] not in named .*", "which of several ways through a knot is named"),
        (r"_cycles: every third time not done: finished\.add\(gone\).*", "it is searched again, and is named already"),
        (r"_load: condition dropped: known is not None and same => same", "`same` asks for it, too"),
        (r"_load_new: if True: workflows is not None.*", "it raises the same again"),
        (r"_load_new: comparison: .* > _STILL_NS => .* >= _STILL_NS", "a nanosecond of many"),
        (r"_load_new: other end: max\(found\.st_(size|mtime_ns).*", "the two differ only while it is written"),
        (r"_read: always the second: .*", "there is no DAG where there are faults"),
        (r"_read_dag: (and/or|condition dropped): name is None or reader\.faults.*", "`_read` asks for it, too"),
        (r"_read_task: arguments swapped: _Draft\('', None.*", "all that is nothing is the same nothing"),
        (r"_read_task: condition dropped: params or \{\} => params.*", "None is as empty as {}"),
        (r"_judge_drafts: if True: node is not None .*", "only what is there is judged"),
    ),
    "worker": (
        (r"retry_delay: constant: 60 => .*", "2 ** 59 times any wait is more than any cap"),
        (r"_Work\.life: if True: self\.ends.*", "`_end` finds no end for whoever was given none"),
        (r"_Work\.life: condition dropped: .*state\.stopping is None.*", "`_free` is 0 for whoever stops"),
        (r"_Work\._start: if True: not self\.config\.quiet.*", "`_say` asks for it, too"),
        (r"_Work\._claimed: (statement deleted: self\.keys|constant: 1 => 2).*", "keys of what never starts"),
        (r"_Work\._may_exchange: .*self\.state\.running.*", "a burst in which nothing runs has ended"),
        (r"_Work\._settle: if True: events.*", "nothing is recorded in an empty Record"),
        (r"_Work\._until: other end: times\..*", "the least is taken"),
        (r"_Work\._to_report: if True: isinstance.*", "`report_of` takes the delay of a Retry only"),
    ),
}
