"""Standard output that never fails: whatever becomes of it, printing never changes a job (W3).

A worker outlives the reader of its output, a full disk, an encoding that knows no ✓, and a workflow that closes
stdout. What cannot be written is dropped.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any, TextIO


class SteadyStream(io.TextIOBase):
    """A text stream over another one: the same, but writing, flushing and closing never raise."""

    def __init__(self, inner: TextIO) -> None:
        super().__init__()
        self._inner = inner
        if isinstance(inner, io.TextIOWrapper):
            inner.reconfigure(errors="backslashreplace")

    def write(self, text: str, /) -> int:
        """Write what can be written; answers as if all had been."""
        try:
            return self._inner.write(text)
        except (OSError, ValueError):  # a closed file is a ValueError
            return len(text)

    def flush(self) -> None:
        """Flush, or drop what cannot be flushed."""
        with contextlib.suppress(OSError, ValueError):
            self._inner.flush()

    def close(self) -> None:
        """Flush only: the stream belongs to the worker, not to the workflow that closes it."""
        self.flush()

    def writable(self) -> bool:
        """True."""
        return True

    def isatty(self) -> bool:
        """Whether the inner stream is a terminal."""
        with contextlib.suppress(OSError, ValueError):
            return self._inner.isatty()
        return False

    def fileno(self) -> int:
        """The file descriptor of the inner stream."""
        return self._inner.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed says attribute; a property serves every reader
        """The inner stream's."""
        return self._inner.encoding

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def steady_streams() -> None:
    """Make this process's stdout and stderr steady, for good."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, SteadyStream):
            setattr(sys, name, SteadyStream(stream))
