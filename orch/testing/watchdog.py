"""A verification in a process of its own, and a watchdog that says where a queue hangs.

The queue under test may loop for ever, wait for a lock, or end the interpreter. So `run` starts a child process that
verifies and writes its result to a file; in the child a thread looks whether one and the same call lasts for too long
and then writes down which, with the steps before it. A child that cannot even do that is ended by the parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from orch.errors import InvalidInput, OrchError
from orch.testing.machine import Run

LOOK_S = 0.1
GRACE_S = 5.0  # beyond the time limit of a step, for a watchdog that gets no turn
CROWD = 20  # steps with a thousand jobs in them may take so many times as long
_ORCH = str(Path(__file__).resolve().parent.parent)
_LIBRARY = str(Path(os.__file__).resolve().parent)


@dataclass(frozen=True, slots=True)
class Order:
    """What to verify, and how: `orch verify` as a value."""

    queue: str
    driver: str = "fast"
    examples: int = 200
    seed: int = 0
    seconds: float | None = None
    capabilities: tuple[str, ...] | None = None
    replay: str | None = None
    level: str | None = None
    timeout_s: float = 10.0
    folder: str = ""


def run(order: Order) -> dict[str, Any]:
    """The result of a verification in another process: `exit` (0, 1, 2), `text`, and what `--json` prints.

    What the queue prints goes to stderr.
    """
    if order.timeout_s <= 0:
        raise InvalidInput(f"the time limit of a step must be more than 0 s, got {order.timeout_s}")
    with tempfile.TemporaryDirectory(prefix="orch-verify-") as folder:
        result, beat = Path(folder, "result.json"), Path(folder, "beat")
        beat.touch()
        child = subprocess.Popen(
            [sys.executable, "-m", "orch.testing.watchdog", json.dumps(asdict(order)), folder],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(_ORCH).parent), _path()]))},
        )
        try:
            silent = _watch(child, beat, order.timeout_s + GRACE_S)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
        if result.exists():
            told: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
            return told
    if silent:
        text = f"{order.queue} hangs in code that holds the interpreter: nothing else had a turn, no step can be told"
    else:
        text = f"{order.queue} ended the interpreter (exit code {child.returncode}) while it was verified"
    return {"exit": 2, "text": text, "valid": None, "error": text}


def _path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _watch(child: subprocess.Popen[bytes], beat: Path, silent_s: float) -> bool:
    """Wait for the child; True if it was silent for too long."""
    while True:
        try:
            child.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            if time.time() - beat.stat().st_mtime > silent_s:
                return True
        else:
            return False


# -- in the child ------------------------------------------------------------------------------------------------------


class Watchdog(threading.Thread):
    """Ends the process when the thread that made it is in one call for longer than `timeout_s`."""

    def __init__(self, order: Order, folder: Path) -> None:
        super().__init__(daemon=True)
        self.order = order
        self.folder = folder
        self.watched = threading.get_ident()

    def run(self) -> None:
        """Look until the process ends."""
        frame: FrameType | None = None
        since = time.monotonic()
        while True:
            (self.folder / "beat").touch()
            found = _call(sys._current_frames().get(self.watched))  # noqa: SLF001 - there is no other way to look
            if found is None or found is not frame:
                frame, since = found, time.monotonic()
            limit = self.order.timeout_s
            if frame is not None and _in_a_crowd(frame):
                limit *= CROWD
            if frame is not None and time.monotonic() - since > limit:
                write(self.folder, self._hangs(frame, limit))
                os._exit(2)
            time.sleep(LOOK_S)

    def _hangs(self, frame: FrameType, limit: float) -> dict[str, Any]:
        where = traceback.format_stack(sys._current_frames()[self.watched])  # noqa: SLF001 - as above
        own = [line for line in where if _is_shown(line)][-4:]
        data: dict[str, Any] = {"exit": 2, "valid": None, "queue": self.order.queue, "hangs": True}
        if frame.f_code is Run.do.__code__:
            from orch.testing.program import listing_of

            run, op, args = (frame.f_locals[name] for name in ("self", "op", "args"))
            steps = [*run.steps, (op, args)] if not run.steps or run.steps[-1] != (op, args) else list(run.steps)
            header = getattr(run.store, "header", None)
            program = listing_of(run.machine, steps, header)
            from orch.testing.drivers.fast import trace_of

            token = trace_of(steps).token
            data |= {"step": len(steps), "operation": op.name, "program": program, "token": token}
            text = (
                f"{self.order.queue} hangs: step {len(steps)}, {op.name}, took more than {limit:g} s.\n\n"
                f"The steps until there, the last of which does not return:\n\n{program}\n"
                f"Replay: orch verify {self.order.queue} --replay {token}\n"
            )
        else:
            name = frame.f_code.co_qualname
            name = "to import it" if name == "<module>" else name
            data |= {"step": 0, "operation": name}
            text = f"{self.order.queue} hangs before the first step: {name} took more than {limit:g} s.\n"
        stack = "".join(own or where[-4:])
        return data | {"text": f"{text}\nIt is here now:\n{stack}", "error": text.splitlines()[0], "stack": stack}


_DO: CodeType = Run.do.__code__


def _call(frame: FrameType | None) -> FrameType | None:
    """The innermost step of the machine, or else the outermost frame that is not of orch's own code."""
    stack: list[FrameType] = []
    while frame is not None:
        if frame.f_code is _DO:
            return frame
        stack.append(frame)
        frame = frame.f_back
    return next((outer for outer in reversed(stack) if _is_theirs(outer.f_code.co_filename)), None)


def _is_shown(line: str) -> bool:
    return f'File "{_ORCH}' not in line and 'File "<frozen' not in line


def _is_theirs(file: str) -> bool:
    """Is it code of the queue under test, or what that uses?"""
    if file.startswith((_ORCH, "<frozen")) or f"{os.sep}hypothesis{os.sep}" in file:
        return False
    return "site-packages" in file or not file.startswith(_LIBRARY)


def _in_a_crowd(frame: FrameType) -> bool:
    return frame.f_code is _DO and frame.f_locals["op"].code in "CHIe"


def write(folder: Path, told: dict[str, Any]) -> None:
    """Put the result where the parent finds it, whole or not at all."""
    half = folder / "result.part"
    half.write_text(json.dumps(told), encoding="utf-8")
    half.replace(folder / "result.json")


def main(arguments: list[str]) -> int:
    """The child's own main: the order as JSON, and the folder of the result."""
    from orch.testing.verdicts import attempt  # which the watchdog may have to watch as well

    given = json.loads(arguments[0])
    if given["capabilities"] is not None:
        given["capabilities"] = tuple(given["capabilities"])
    order, folder = Order(**given), Path(arguments[1])
    Watchdog(order, folder).start()
    with redirect_stdout(sys.stderr):
        try:
            told = attempt(order)
        except OrchError as error:
            told = {"exit": 2, "valid": None, "queue": order.queue, "text": str(error), "error": str(error)}
        except Exception as error:  # for example when a queue is closed
            text = f"{order.queue} was not verified: {type(error).__name__}: {error}\n\n{traceback.format_exc()}"
            told = {"exit": 2, "valid": None, "queue": order.queue, "text": text, "error": str(error)}
    write(folder, told)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
