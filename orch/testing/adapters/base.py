"""What an adapter is: the four verbs of a queue of somebody else's, a worker of it, and what its project promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from orch import checks
from orch.errors import InvalidInput, NotSupported

NAMES = ("rq", "celery", "dramatiq", "huey")


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to set a library up. `documented`: what its project says it loses, in its own terms; empty if nothing."""

    name: str
    text: str
    documented: str = ""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What `get` brought: the id of the job, and what the library needs to settle it."""

    job: str
    handle: Any


class Adapter(ABC):
    """One client of a queue on Redis. Everything goes through the library's own code, nothing is done to its keys.

    `recovery_s` bounds, in seconds, when a job whose client crashed must come back under this adapter's settings; None
    if the library has no bound worth waiting for (the kill matrix measures it). `no_nack` names the settings under
    which a job that failed is not tried again.
    """

    library: ClassVar[str]
    settings: ClassVar[tuple[Setting, ...]]
    recovery_s: ClassVar[float | None] = None
    no_nack: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, url: str, setting: str) -> None:
        self.url = url
        self.setting = self.setting_called(setting)

    @classmethod
    def setting_called(cls, name: str) -> Setting:
        """The setting of this name; raises `InvalidInput` if there is none."""
        for setting in cls.settings:
            if setting.name == name:
                return setting
        names = ", ".join(setting.name for setting in cls.settings)
        raise InvalidInput(f"{cls.library} has the settings {names}, got {checks.shown(name)}")

    @classmethod
    def version(cls) -> str:
        """The version of the library that is installed."""
        return version(cls.library)

    @abstractmethod
    def put(self, job_id: str, seconds: float = 0.0) -> None:
        """Enqueue a job that sleeps so long."""

    @abstractmethod
    def get(self) -> Delivery | None:
        """Take the next job, as a worker of the library would; None if there is none."""

    @abstractmethod
    def ack(self, delivery: Delivery) -> None:
        """The job is done."""

    @abstractmethod
    def nack(self, delivery: Delivery) -> None:
        """The job failed and is to be tried again at once."""

    def count(self) -> int:
        """How many jobs wait; raises `NotSupported` where the library does not say."""
        raise NotSupported(f"{self.library} does not count")

    def state(self, job_id: str) -> str:
        """What the library says of a job, `failed` if it gave up; raises `NotSupported` where it says nothing."""
        raise NotSupported(f"{self.library} says nothing of {job_id}")

    def crash(self) -> None:
        """Vanish: what this client took is neither settled nor given back."""

    def restart(self) -> None:
        """Do what a worker of the library does when it begins, or now and then: look for what others left."""

    def close(self) -> None:
        """Let go of the server."""

    @classmethod
    @abstractmethod
    def work(cls, url: str, setting: str) -> None:
        """Be a worker of the library, one job at a time, until the process ends."""


def load(name: str) -> type[Adapter]:
    """The adapter of a library. Raises `InvalidInput` for one that is unknown or not installed."""
    if name not in NAMES:
        raise InvalidInput(f"adapters are {', '.join(NAMES)}, got {checks.shown(name)}")
    try:
        version(name)
        module = import_module(f"orch.testing.adapters.{name}_redis")
    except (ImportError, PackageNotFoundError) as error:
        raise InvalidInput(f"{name} is not installed ({error}); pip install 'orch[peers]'") from None
    found: type[Adapter] = module.ADAPTER
    return found
