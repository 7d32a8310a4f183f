"""What a value must be to get into a queue (Q12): one function per kind of value.

Each returns the value in the form that is stored, or raises `InvalidInput` with the value and the next step.
Nothing here knows a job or a backend.
"""

from __future__ import annotations

import json
import marshal
import math
from typing import Any

from orch.clock import iso_to_us
from orch.errors import InvalidInput

ID_MAX = 200  # characters
DEPTH_MAX = 64  # nested lists and objects in a JSON value
RESULT_MAX = 1024 * 1024  # bytes of JSON of a result or of params
ERROR_MAX = 16 * 1024  # bytes of UTF-8 of an error text, the mark included
ITEMS_MAX = RESULT_MAX // 2  # of a JSON value, nested ones included: each takes two bytes at least
PROGRESS_MAX = 256 * 1024  # bytes of JSON of one task's recorded output
PROGRESS_TOTAL_MAX = 16 * 1024 * 1024  # bytes of all recorded outputs of a job
INT_BITS_MAX = 1024  # of a number in a JSON value; Python itself refuses to print very long ones
INT_MAX = 1_000_000_000  # counters and limits; far inside what every store keeps exactly
SECONDS_MAX = 1_000_000_000.0  # about 31 years
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode  # dumps makes one a call
_CUT_MARK = " … [cut by orch]"
_NESTED = frozenset({dict, list})  # the types of a checked value that hold others
_ALWAYS_FINE = frozenset({bool, type(None)})  # types of which every value is JSON
_JSON_PER_MARSHAL = 6  # no value of JSON takes more bytes as JSON for one that `marshal` takes: a NUL, as \\u0000


def shown(value: object, limit: int = 80) -> str:
    """`repr`, shortened, for messages; never raises."""
    try:
        text = repr(value)
    except Exception as error:  # a caller's __repr__ may do anything
        text = f"<{type(value).__name__} whose repr raised {type(error).__name__}>"
    return text if len(text) <= limit else text[: limit - 1] + "…"


def check_id(value: object, what: str = "job id") -> str:
    """An id: 1 to 200 printable characters (spaces are printable, control characters and lone surrogates are not)."""
    if type(value) is not str:
        raise InvalidInput(f"{what} must be text, got {shown(value)}")
    if not 1 <= len(value) <= ID_MAX or not value.isprintable():
        raise InvalidInput(f"{what} must be 1 to {ID_MAX} printable characters, got {shown(value)}")
    return value


def check_worker_id(value: object) -> str:
    """A worker id: like an id, or empty."""
    return "" if value == "" else check_id(value, "worker_id")


def check_text(value: object, what: str, limit: int = 4096) -> str:
    """A text of 1 to `limit` characters that UTF-8 can carry, without NUL."""
    if type(value) is not str:
        raise InvalidInput(f"{what} must be text, got {shown(value)}")
    if not 1 <= len(value) <= limit or "\0" in value:
        raise InvalidInput(f"{what} must be 1 to {limit} characters without NUL, got {shown(value)}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidInput(f"{what} must be text that UTF-8 can carry, got {shown(value)}") from None
    return value


def check_int(value: object, what: str, low: int, high: int = INT_MAX) -> int:
    """A whole number between `low` and `high`; a bool is not one."""
    if type(value) is not int:
        raise InvalidInput(f"{what} must be a whole number, got {shown(value)}")
    if not low <= value <= high:
        raise InvalidInput(f"{what} must be between {low} and {high}, got {value}")
    return value


def check_seconds(value: object, what: str, *, positive: bool = False, high: float = SECONDS_MAX) -> float:
    """A finite number of seconds (or hours), not negative; with `positive` more than 0."""
    if type(value) is not int and type(value) is not float:
        raise InvalidInput(f"{what} must be a number, got {shown(value)}")
    if not math.isfinite(value) or value < 0 or value > high or (positive and value == 0):
        bound = "more than 0" if positive else "0 or more"
        raise InvalidInput(f"{what} must be {bound} and at most {high:g}, got {shown(value)}")
    return float(value)


def check_instant(value: object, what: str) -> int:
    """An aware ISO-8601 text; returns its epoch microseconds."""
    if type(value) is not str:
        raise InvalidInput(f"{what} must be an ISO-8601 text with a time zone, got {shown(value)}")
    try:
        return iso_to_us(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{what} must be an ISO-8601 text with a time zone, as 2026-11-24T10:00:00Z, got {shown(value)} ({error})"
        ) from None


def cut_error(value: object) -> str | None:
    """An error text, cut to 16 KiB of UTF-8 with a mark; what UTF-8 cannot carry is written as an escape."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise InvalidInput(f"error must be text or None, got {shown(value)}")
    if len(value) * 4 <= ERROR_MAX and value.isascii():
        return str(value)
    data = value.encode("utf-8", "backslashreplace")
    if len(data) <= ERROR_MAX:
        return data.decode()
    keep = ERROR_MAX - len(_CUT_MARK.encode())
    return data[:keep].decode("utf-8", "ignore") + _CUT_MARK


def copy_json(value: Any) -> Any:
    """A deep copy of a JSON value that was checked before."""
    if isinstance(value, dict):
        return {key: copy_json(item) if type(item) in _NESTED else item for key, item in value.items()}
    if isinstance(value, list):
        return [copy_json(item) if type(item) in _NESTED else item for item in value]
    return value


def check_json(value: object, what: str) -> Any:
    """A JSON value as its own copy: tuples become lists, subclasses of text and numbers their plain form.

    Refused: NaN and infinities, keys that are not text, other types, text that UTF-8 cannot carry,
    more than 64 levels.
    """
    return _checked(value, what, DEPTH_MAX, [ITEMS_MAX])


def _checked(value: Any, what: str, depth: int, left: list[int]) -> Any:
    kind = type(value)
    if kind is str:
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                raise InvalidInput(f"{what} must be text that UTF-8 can carry, got {shown(value)}") from None
        return value
    if kind is int:
        if value.bit_length() > INT_BITS_MAX:
            raise InvalidInput(f"{what} must have numbers of at most {INT_BITS_MAX} bits, got one of more")
        return value
    if kind is float:
        if not math.isfinite(value):
            raise InvalidInput(f"{what} must be JSON, which has no {value}; use null or a text")
        return value
    if kind in _ALWAYS_FINE:
        return value
    if kind in _NESTED or isinstance(value, (dict, list, tuple)):
        if depth == 0:
            raise InvalidInput(f"{what} must not be nested deeper than {DEPTH_MAX} levels")
        left[0] -= len(value)
        if left[0] < 0:  # a list that holds another many times is small in memory and endless as JSON
            raise InvalidInput(f"{what} must have at most {ITEMS_MAX} items in all; store it elsewhere")
        if kind is not dict and not isinstance(value, dict):
            return [
                item
                if (kind := type(item)) in _ALWAYS_FINE or (kind is str and item.isascii())
                else _checked(item, what, depth - 1, left)
                for item in value
            ]
        copied = {}
        for key, item in value.items():
            if type(key) is not str or not key.isascii():
                if not isinstance(key, str):
                    raise InvalidInput(f"{what} must have text keys, got {shown(key)}")
                key = _checked(str.__str__(key), what, 0, left)  # noqa: PLW2901  # the plain form of it
            if (kind := type(item)) in _ALWAYS_FINE or (kind is str and item.isascii()):  # most are
                copied[key] = item
            else:
                copied[key] = _checked(item, what, depth - 1, left)
        return copied
    if isinstance(value, str):
        return _checked(str.__str__(value), what, depth, left)
    if isinstance(value, int):
        return _checked(int(value), what, depth, left)
    if isinstance(value, float):
        return _checked(float(value), what, depth, left)
    raise InvalidInput(f"{what} must be JSON, got {shown(value)} of type {kind.__name__}")


def check_object(value: object, what: str) -> dict[str, Any]:
    """A JSON object (a dict with text keys) as its own copy."""
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be an object (a dict), got {shown(value)}")
    copied: dict[str, Any] = check_json(value, what)
    return copied


def check_document(value: object, what: str) -> dict[str, Any]:
    """A JSON object of at most 1 MiB of UTF-8 as its own copy (Q11, Q12). Raises `InvalidInput`."""
    copied = check_object(value, what)
    # Counting what `marshal` writes is several times cheaper than writing JSON, and enough to tell that it is small.
    if len(marshal.dumps(copied, 2)) > RESULT_MAX // _JSON_PER_MARSHAL:
        check_size(dump_json(copied), what, RESULT_MAX)
    return copied


def dump_json(value: object) -> str:
    """Compact JSON of a checked value; keys keep their order."""
    return _encode(value)


def check_size(text: str, what: str, limit: int) -> str:
    """A JSON text of at most `limit` bytes of UTF-8."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > limit:
        raise InvalidInput(
            f"{what} must be at most {limit} bytes of JSON, got {size}; store it elsewhere and keep a reference"
        )
    return text
