"""What `pytest --orch-queue MODULE:FACTORY` collects: a subclass of `QueueContract` and a run of the machine.

`pytest_orch` adds the options and imports this module only where one is given.
"""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from orch.errors import InvalidInput
from orch.testing.capabilities import Fit, checked_capabilities, detected
from orch.testing.clock import FakeClock
from orch.testing.subject import Subject, load, subject

if TYPE_CHECKING:
    from orch.queue import PersistentQueue


class Suites:
    """The plugin: it stands in for the file `anchor`, which it adds to what is collected."""

    def __init__(self, config: pytest.Config, anchor: str) -> None:
        self._anchor = Path(anchor).resolve()
        if str(self._anchor) not in config.args:
            config.args.append(str(self._anchor))

    def pytest_collect_file(self, file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
        """The suites, in place of the anchor."""
        if file_path.resolve() != self._anchor:
            return None
        made: pytest.Collector = SuiteFile.from_parent(parent, path=file_path)
        return made


class SuiteFile(pytest.Module):
    """A module that is made, not imported: a class for each queue that was named."""

    def _getobj(self) -> types.ModuleType:
        module = types.ModuleType("orch_queues")
        for name in self.config.getoption("--orch-queue"):
            try:
                made = suite(name, self.config)
            except InvalidInput as error:
                raise self.CollectError(f"--orch-queue {name}: {error}") from error
            setattr(module, made.__name__, made)
        return module


def suite(named: str, config: pytest.Config) -> type:
    """The test class for the queues of this factory. Raises `InvalidInput` for what is no queue."""
    from orch.testing import QueueContract

    store = subject(load(named, config.invocation_params.dir))
    assert isinstance(store, Subject)
    text = config.getoption("--orch-capabilities")
    said = None if text is None else _names(text)
    fit = detected(store) if said is None else Fit(checked_capabilities(said), {})
    probe = store(FakeClock())
    own = {
        attribute: getattr(probe, attribute) for attribute in ("lease_s", "max_crashes") if hasattr(probe, attribute)
    }
    probe.close()
    examples, seed = config.getoption("--orch-examples"), config.getoption("--orch-seed")

    class Suite(QueueContract):
        capabilities = fit.capabilities

        def make_queue(self, clock: FakeClock) -> PersistentQueue:
            return store(clock)

        def test_the_machine_finds_no_broken_promise(self) -> None:
            from orch.testing import ContractViolation, verify

            report = ""
            try:
                verify(store, max_examples=examples, seed=seed, capabilities=said)
            except ContractViolation as violation:
                report = str(violation)
            if report:
                pytest.fail(report, pytrace=False)

    members = {"__doc__": f"The contract, on the queues of {named}.", "__module__": "orch_queues", **own}
    for hook in ("second_client", "reopen", "plant_record"):
        if hasattr(store.factory, hook):
            members[hook] = _passing(store, hook)
    return type(_class_name(named), (Suite,), members)


def _passing(store: Subject, hook: str) -> Any:
    return lambda _, *args: getattr(store.factory, hook)(*args)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for part in text.split(",") if (name := part.strip()))


def _class_name(name: str) -> str:
    """`mypkg.queues:make_queue` is TestMypkgQueuesMakeQueue."""
    return "Test" + "".join(word[:1].upper() + word[1:] for word in re.split(r"\W+|_", name))
