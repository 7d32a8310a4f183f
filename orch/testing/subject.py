"""The queue under test, whoever wrote it: found by its name, made with a clock, and brought to the seven verbs.

A class need not derive from `PersistentQueue`: seven methods of the right names are enough. What they do not take
(`lease_s`, `delay_s`, ...) is not given to them, and where they answer None the answer is looked up.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

from orch.checks import shown
from orch.errors import InvalidInput, JobNotFound
from orch.job import Job, JobStatus, Lease
from orch.queue import PersistentQueue
from orch.testing.clock import FakeClock
from orch.testing.machine import Store

SEVEN = ("enqueue", "dequeue", "update_status", "get_job", "list_jobs", "count", "purge")
_EXTRAS = (
    "enqueue_many",
    "dequeue_many",
    "exchange",
    "extend_lease",
    "extend_many",
    "record_progress",
    "progress",
    "counts",
    "stats",
    "requeue",
    "cancel",
    "quarantined",
    "workers",
    "announce",
    "schedule_cursor",
    "advance_schedule",
)
_TAKEN = {"dequeue": ("worker_id", "lease_s", "wait_s"), "update_status": ("lease", "delay_s")}


class Subject:
    """A factory with the name under which programs import it; hooks of the factory are its own."""

    def __init__(self, make_queue: Callable[[FakeClock], Any], header: tuple[str, str] | None = None) -> None:
        self.factory = make_queue
        self.header = header  # how a program imports it, and makes a queue
        self.plain = False

    def __call__(self, clock: FakeClock) -> PersistentQueue:
        made: PersistentQueue = self.factory(clock)  # or what is made one; `subject` has looked
        return PlainQueue.of(made) if self.plain else made

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["factory"], name)


def load(name: str, folder: Path | None = None) -> Subject:
    """The factory that `MODULE:NAME` names; `folder` is searched first. Raises `InvalidInput` with what is wrong."""
    module_name, colon, path = name.partition(":")
    if not colon or not module_name or not all(part.isidentifier() for part in path.split(".")):
        raise InvalidInput(f"a queue is named as MODULE:FACTORY, as in mypkg.queues:make_queue, got {shown(name)}")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise InvalidInput(f"{module_name} cannot be imported: {_last_line(error)}") from error
        raise InvalidInput(
            f"there is no module {error.name!r} in {Path.cwd() if folder is None else folder} or on the path"
        ) from error
    except (Exception, SystemExit) as error:
        raise InvalidInput(f"{module_name} cannot be imported: {_last_line(error)}") from error
    factory: Any = module
    for part in path.split("."):
        try:
            factory = getattr(factory, part)
        except AttributeError:
            there = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
            raise InvalidInput(
                f"{module_name} has no {path!r}; it has {', '.join(there) or 'nothing to call'}"
            ) from None
    if not callable(factory):
        raise InvalidInput(f"{name} is {shown(factory)}, not callable: give a function of a clock that makes a queue")
    first = path.split(".", maxsplit=1)[0]
    return Subject(factory, (f"from {module_name} import {first}", f"{path}(clock)"))


def subject(make_queue: Store) -> Store:
    """What makes queues of the seven verbs, as the machine needs them; one is made and closed, to see.

    Raises `InvalidInput` for a factory that makes none, and says which verbs are missing.
    """
    made = _made(make_queue)
    lacks = [verb for verb in SEVEN if not callable(getattr(made, verb, None))]
    if made is None or len(lacks) == len(SEVEN):
        raise InvalidInput(f"{_name(make_queue)} must return a queue, got {shown(made)}")
    if lacks:
        raise InvalidInput(
            f"{type(made).__name__} lacks {', '.join(lacks)}: a queue has {', '.join(SEVEN)} (see orch.queue)"
        )
    kept = make_queue if isinstance(make_queue, Subject) else Subject(make_queue)
    kept.plain = (
        kept.plain
        or not isinstance(made, PersistentQueue)
        or any(not _takes(made, verb, name) for verb, names in _TAKEN.items() for name in names)
    )
    _close(made)
    return kept if kept.plain or kept is make_queue else make_queue


def _made(make_queue: Callable[[FakeClock], Any]) -> Any:
    clock = FakeClock()
    name = _name(make_queue)
    try:
        return make_queue(clock)
    except (Exception, SystemExit) as error:
        told = str(error)
        if isinstance(error, TypeError) and "abstract" in told:
            raise InvalidInput(f"{name} makes a queue that lacks verbs: {told}") from error
        if isinstance(error, TypeError) and not _takes_one(make_queue):
            raise InvalidInput(
                f"{name} must take one argument, the clock (a function that returns epoch seconds), and return an "
                f"empty queue; it answered: {told}"
            ) from error
        raise InvalidInput(f"{name} raised while it made a queue: {_last_line(error)}") from error


def _takes_one(make_queue: Callable[..., Any]) -> bool:
    factory = make_queue.factory if isinstance(make_queue, Subject) else make_queue
    try:
        inspect.signature(factory).bind(0)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True


def _name(make_queue: Any) -> str:
    factory = make_queue.factory if isinstance(make_queue, Subject) else make_queue
    return f"{getattr(factory, '__qualname__', type(factory).__name__)}(clock)"


def _last_line(error: BaseException) -> str:
    """The error with the line of code where it was raised."""
    places = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    where = f" ({Path(places[-1].filename).name}, line {places[-1].lineno})" if places else ""
    if isinstance(error, SyntaxError):
        where = f" ({Path(error.filename or '?').name}, line {error.lineno})"
        return f"{type(error).__name__}: {error.msg}{where}"
    return f"{type(error).__name__}: {error}{where}"


def _close(queue: Any) -> None:
    close = getattr(queue, "close", None)
    if callable(close):
        close()


_taken: dict[tuple[type, str], frozenset[str] | None] = {}  # class and verb -> its arguments; None: any


def _takes(queue: object, verb: str, argument: str) -> bool:
    """Does this queue's verb take the argument by its name?"""
    kind = type(queue)
    if (kind, verb) not in _taken:
        try:
            parameters = inspect.signature(getattr(queue, verb)).parameters
        except (TypeError, ValueError):
            _taken[kind, verb] = None
        else:
            anything = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
            _taken[kind, verb] = None if anything else frozenset(parameters)
    names = _taken[kind, verb]
    return names is None or argument in names


class PlainQueue(PersistentQueue):
    """An object with the seven verbs as a `PersistentQueue`."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner
        for name in ("lease_s", "max_crashes"):
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    @classmethod
    def of(cls, inner: Any) -> PlainQueue:
        """The object adapted, with the verbs beyond the seven that it has."""
        return _plain_class(type(inner))(inner)

    def _rest(self, verb: str, **given: Any) -> dict[str, Any]:
        return {name: value for name, value in given.items() if _takes(self.inner, verb, name)}

    def enqueue(self, job: Job) -> bool:
        known = self.inner.get_job(job.id) is not None if isinstance(job, Job) and job.id else False
        answer = self.inner.enqueue(job)
        return not known if answer is None else answer

    def dequeue(self, worker_id: str = "", *, lease_s: float | None = None, wait_s: float = 0.0) -> Job | None:
        given = self._rest("dequeue", worker_id=worker_id, lease_s=lease_s, wait_s=wait_s)
        job: Job | None = as_job(self.inner.dequeue(**given))
        return job

    def update_status(
        self,
        job_id: str,
        status: JobStatus,
        error: str | None = None,
        result: dict[str, Any] | None = None,
        *,
        lease: Lease | None = None,
        delay_s: float | None = None,
    ) -> Job:
        given = self._rest("update_status", lease=lease, delay_s=delay_s)
        answer = self.inner.update_status(job_id, status, error, result, **given)
        if answer is None:
            answer = self.inner.get_job(job_id)
        if answer is None:
            raise JobNotFound(f"no job {job_id!r}")
        job: Job = as_job(answer)
        return job

    def get_job(self, job_id: str) -> Job | None:
        job: Job | None = as_job(self.inner.get_job(job_id))
        return job

    def list_jobs(self, status: JobStatus | None = None, limit: int = 100) -> list[Job]:
        jobs = self.inner.list_jobs(status, limit)
        return [as_job(job) for job in jobs] if isinstance(jobs, list | tuple) else jobs

    def count(self, status: JobStatus | None = None) -> int:
        return self.inner.count(status)  # type: ignore[no-any-return]  # what it answers is judged

    def purge(self, older_than_hours: float = 24) -> int:
        return self.inner.purge(older_than_hours)  # type: ignore[no-any-return]  # what it answers is judged

    def close(self) -> None:
        _close(self.inner)


_plain: dict[type, type[PlainQueue]] = {}


def _plain_class(inner: type) -> type[PlainQueue]:
    def passing(verb: str) -> Callable[..., Any]:
        def call(self: PlainQueue, *args: Any, **more: Any) -> Any:
            return getattr(self.inner, verb)(*args, **more)

        call.__name__ = verb
        return call

    if inner not in _plain:
        own = [verb for verb in _EXTRAS if callable(getattr(inner, verb, None)) and not _inherited(inner, verb)]
        _plain[inner] = type(inner.__name__, (PlainQueue,), {verb: passing(verb) for verb in own})
    return _plain[inner]


def _inherited(inner: type, verb: str) -> bool:
    return getattr(inner, verb) is getattr(PersistentQueue, verb, None)


_NAMES = tuple(f.name for f in fields(Job))
_NEEDED = ("id", "status")


def as_job(value: Any) -> Any:
    """A job of somebody else's class as a `Job`, if it looks like one; anything else as it is."""
    if value is None or isinstance(value, Job):
        return value
    if isinstance(value, dict) and all(name in value for name in _NEEDED):
        return Job.from_dict(value)
    if all(hasattr(value, name) for name in _NEEDED):
        return Job(**{name: getattr(value, name) for name in _NAMES if hasattr(value, name)})
    return value
