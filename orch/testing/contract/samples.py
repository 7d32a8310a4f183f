"""Values to hand in: no id, object, number, instant, field or record; JSON that must come back as it was."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orch.testing.contract.base import new_job


def nested(levels: int) -> dict[str, Any]:
    """An object with so many levels."""
    value: Any = {}
    for _ in range(levels - 1):
        value = {"k": value}
    return dict(value)


class Unshowable:
    """Its repr raises; a message about it must not."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


#: Values that are no id, and what a message about them shows.
BAD_IDS = [
    pytest.param("", "''", id="empty"),
    pytest.param("x" * 201, "xxx", id="201 characters"),
    pytest.param("a\nb", r"a\nb", id="line break"),
    pytest.param("a\0", r"a\x00", id="NUL"),
    pytest.param("a\x7f", r"a\x7f", id="DEL"),
    pytest.param("\ud800", r"\ud800", id="lone surrogate"),
    pytest.param("a\u2028b", r"a\u2028b", id="line separator"),
    pytest.param(None, "None", id="None"),
    pytest.param(5, "5", id="int"),
    pytest.param(b"x", "b'x'", id="bytes"),
]

#: Values that are no JSON object, and what a message about them shows.
BAD_OBJECTS = [
    pytest.param([1], "[1]", id="list"),
    pytest.param("text", "text", id="text"),
    pytest.param(7, "7", id="int"),
    pytest.param({"x": float("nan")}, "nan", id="NaN"),
    pytest.param({"x": float("inf")}, "inf", id="infinity"),
    pytest.param({1: "x"}, "1", id="key that is no text"),
    pytest.param({None: "x"}, "None", id="key None"),
    pytest.param({"x": {2, 3}}, "{2, 3}", id="set"),
    pytest.param({"x": b"y"}, "b'y'", id="bytes"),
    pytest.param({"x": object}, "object", id="class"),
    pytest.param({"x": "\ud800"}, r"\ud800", id="lone surrogate"),
    pytest.param({"\udfff": 1}, r"\udfff", id="lone surrogate as key"),
    pytest.param({"x": Unshowable()}, "Unshowable", id="value whose repr raises"),
    pytest.param({"x": 1 << 2000}, "1024 bits", id="very long number"),
    pytest.param(nested(65), "64", id="65 levels"),
    pytest.param({"x": "y" * (1024 * 1024)}, "1048576", id="over 1 MiB"),
    pytest.param({"x": "\u00e4" * (512 * 1024)}, "1048576", id="over 1 MiB of UTF-8"),
]

#: Values that are no positive number of seconds.
BAD_SECONDS = [
    pytest.param(-1, "-1", id="negative"),
    pytest.param(float("nan"), "nan", id="NaN"),
    pytest.param(float("inf"), "inf", id="infinity"),
    pytest.param(2e9, "2000000000", id="too much"),
    pytest.param("5", "'5'", id="text"),
    pytest.param(True, "True", id="bool"),
]

BAD_COUNTS = [
    pytest.param(-1, "-1", id="negative"),
    pytest.param(1.0, "1.0", id="float"),
    pytest.param("3", "'3'", id="text"),
    pytest.param(True, "True", id="bool"),
    pytest.param(None, "None", id="None"),
]

BAD_INSTANTS = [
    pytest.param("2027-01-15T08:00:00", "2027-01-15T08:00:00", id="naive"),
    pytest.param("tomorrow", "tomorrow", id="unparsable"),
    pytest.param("2027-02-30T00:00:00Z", "2027-02-30", id="no such day"),
    pytest.param("", "''", id="empty"),
    pytest.param(1_800_000_000.0, "1800000000.0", id="number"),
]

#: Fields of a job that are set to something bad after it was made.
BAD_FIELDS = [
    ("dag_path", "", "''"),
    ("dag_path", None, "None"),
    ("dag_path", "a\0b", r"a\x00b"),
    ("dag_path", "x" * 4097, "xxx"),
    ("tenant_id", "", "''"),
    ("tenant_id", 7, "7"),
    ("schedule_id", "", "''"),
    ("schedule_id", 7, "7"),
    ("status", "pending", "'pending'"),
    ("status", None, "None"),
    ("status", "gone", "'gone'"),
    ("attempts", -1, "-1"),
    ("attempts", "1", "'1'"),
    ("attempts", True, "True"),
    ("max_retries", -1, "-1"),
    ("max_retries", 1.5, "1.5"),
    ("max_retries", None, "None"),
    ("priority", 1001, "1001"),
    ("priority", -1001, "-1001"),
    ("priority", "high", "'high'"),
    ("priority", 0.5, "0.5"),
    ("failures", -1, "-1"),
    ("crashes", None, "None"),
    ("timeout_s", 0, "0"),
    ("timeout_s", float("nan"), "nan"),
    ("timeout_s", "9", "'9'"),
    ("error", 5, "5"),
    ("error", b"x", "b'x'"),
    ("lease", "x", "'x'"),
]

#: Stored bytes that are no record of this version.
BAD_RECORDS = [
    pytest.param(b"", id="empty"),
    pytest.param(b"{", id="cut"),
    pytest.param(b'{"id":"q","dag_path":"d.ya', id="cut in a text"),
    pytest.param(b"\xff\xfe\x00", id="no UTF-8"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b"17", id="a number"),
    pytest.param(b"{}", id="no fields"),
    pytest.param(b'{"v":1,"id":"q"}', id="fields missing"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "v": 2}).encode(), id="newer"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "v": "1"}).encode(), id="version a text"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "v": 0}).encode(), id="version 0"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "status": "gone"}).encode(), id="unknown status"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "status": "retry"}).encode(), id="status retry"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "attempts": "x"}).encode(), id="wrong type"),
    pytest.param(json.dumps({**new_job("q").to_dict(), "enqueued_at": "noon"}).encode(), id="bad time"),
    pytest.param(b"[" * 100_000, id="very deep"),
]

#: Values that must come back as they went in.
VALUES = [
    pytest.param({}, id="empty object"),
    pytest.param({"a": [], "b": {}}, id="empty list and empty object"),
    pytest.param({"a": [[], [{}], {"b": []}]}, id="nested empties"),
    pytest.param({"n": 0, "t": True, "f": False, "z": None}, id="0, true, false, null"),
    pytest.param({"i": 2**53 + 1, "j": -(2**63), "k": 10**30}, id="numbers beyond a double"),
    pytest.param({"x": 0.1, "y": 1e300, "z": 5e-324, "w": 1.0, "v": -0.0}, id="floats"),
    pytest.param({"": "", " ": "\t\r\n"}, id="empty key, white space"),
    pytest.param({"nul": "a\0b", "ctl": "\x01\x1f\x7f"}, id="NUL and control characters"),
    pytest.param({"q": "\"'\\/`${}%s{0}", "sql": "'; DROP TABLE jobs; --"}, id="quotes"),
    pytest.param({"äöü": "日本語 🙂 \u2028\u2029\ufeff"}, id="beyond ASCII"),
    pytest.param({"b": 1, "a": 2, "c": {"z": 1, "y": 2}}, id="order of keys"),
    pytest.param(nested(64), id="64 levels"),
    pytest.param({"x": "y" * (1024 * 1024 - 8)}, id="1 MiB"),
]
