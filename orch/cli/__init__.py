"""The command line `orch`: one file of this folder for each command, named as the command.

Such a file has `add_parser(subparsers)`, which adds its parser and sets `run`, a function from the parsed arguments to
an exit code. Files whose name begins with an underscore are no commands. Only the file of the command that was asked
for is imported. Exit codes: 0 done, 1 what was asked about failed, 2 bad input or a store that cannot be used.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib import import_module

EXAMPLE = """\
example:
  orch enqueue workflow:echo --param day=monday --url sqlite:///orch.db
  orch worker --burst --url sqlite:///orch.db
  orch queue list --url sqlite:///orch.db

The queue is that of --url, or of the environment: QUEUE_BACKEND (sqlite, redis) with ORCH_SQLITE_PATH or REDIS_URL.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Errors of ours become one line on stderr, without a traceback."""
    from orch.errors import OrchError

    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an ✗ must not end a command on an ASCII terminal
    args = parser_for(arguments).parse_args(arguments)
    try:
        code: int = args.run(args)
        sys.stdout.flush()
    except OrchError as error:
        _complain(str(error))
        return 2
    except BrokenPipeError:  # the reader has seen enough, as in `orch queue list | head -1`
        _drop_stdout()
        return 0
    except KeyboardInterrupt:
        return 130
    return code


def parser_for(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """The parser of the command that the arguments name, or of all commands if they name none."""
    from orch import __version__

    parser = argparse.ArgumentParser(
        prog="orch",
        description="A job orchestrator that you can break on purpose.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"orch {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    names = commands()
    asked = next((argument for argument in arguments if not argument.startswith("-")), "")
    for name in [asked] if asked in names else names:
        import_module(f"orch.cli.{name}").add_parser(subparsers)
    return parser


def commands() -> list[str]:
    """The names of all commands, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # no stderr: the exit code has to say it
        print(f"orch: {text}", file=sys.stderr)


def _drop_stdout() -> None:
    """Lead stdout nowhere, so that the interpreter's last flush does not fail, too."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
