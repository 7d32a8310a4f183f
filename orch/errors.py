"""Every error that orch raises, by blame: the caller, a lost lease, the store.

One root, `OrchError`. A class also derives from the builtin where a caller would look for it.
A message shows the value and the next step; it never shows a password.
"""

from __future__ import annotations


class OrchError(Exception):
    """Root of all errors that orch raises on purpose."""


class InvalidInput(OrchError, ValueError):
    """The caller gave a value that the contract refuses (Q12); nothing was changed."""


class IllegalTransition(InvalidInput):
    """The job's status does not allow the requested step (see `orch.job.TRANSITIONS`)."""


class JobNotFound(OrchError, KeyError):
    """A verb that changes a job was given an id that the queue does not know."""

    def __str__(self) -> str:  # KeyError would show the repr of the whole sentence
        return str(self.args[0]) if self.args else ""


class LeaseLost(OrchError):
    """The lease is not the job's current one (Q4): the delivery belongs to somebody else now."""


class BackendUnavailable(OrchError, ConnectionError):
    """The store cannot be reached, or is not one that orch may use (Q15)."""


class WriteRefused(OrchError):
    """The store answered that it takes no writes (out of memory, read-only, disk full); nothing was changed (Q14)."""


class UnreadableRecord(OrchError):
    """The stored record of this job cannot be read; it is in quarantine with its raw bytes (Q13)."""


class NotSupported(OrchError):
    """This queue does not have this verb."""


class ScheduleError(OrchError):
    """A schedule or its cron expression is wrong; the message names file, line and key (S3)."""


class ValidationError(OrchError):
    """A DAG is wrong; the message lists every fault that could be found (D2)."""


class CycleDetectedError(OrchError):
    """The tasks of a DAG depend on each other in a circle; the message names it."""


class RunnerError(OrchError):
    """A DAG run ended without success."""
