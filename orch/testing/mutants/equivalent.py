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
}
