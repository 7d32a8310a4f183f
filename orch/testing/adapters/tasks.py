"""The job that workers of other libraries run: it notes when it begins and when it ends."""

from __future__ import annotations

import json
import os
import time

NOTES = "ORCH_PEER_NOTES"  # the file that the notes go to


def run(job_id: str, seconds: float = 0.0) -> None:
    """Sleep so long, between two lines in the file that `ORCH_PEER_NOTES` names."""
    note(job_id, "begin")
    time.sleep(seconds)
    note(job_id, "end")


def note(job_id: str, what: str) -> None:
    """Write a line that outlives `kill -9`; without a file, nothing."""
    path = os.environ.get(NOTES)
    if path is None:
        return
    line = json.dumps({"at_ns": time.monotonic_ns(), "job": job_id, "what": what, "session": os.getsid(0)})
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line.encode() + b"\n")
    finally:
        os.close(file)
