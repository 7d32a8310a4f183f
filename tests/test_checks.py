"""What a value must be to get into a queue."""

import enum
import math

import pytest

from orch import checks
from orch.errors import InvalidInput

pytestmark = pytest.mark.promise("Q12")


class Colour(str, enum.Enum):  # noqa: UP042 - the kind whose str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Celsius(float):
    pass


class Silent:
    def __repr__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize("value", ["", "x" * 201, "a\nb", "a\0b", "\ud800", 7, None, b"a"])
def test_an_id_is_1_to_200_printable_characters(value):
    with pytest.raises(InvalidInput, match="job id"):
        checks.check_id(value)


@pytest.mark.parametrize("value", ["a", "x" * 200, "job 7", "é@2026-11-24T10:00Z"])
def test_a_good_id_is_returned_as_it_is(value):
    assert checks.check_id(value) == value


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800", 3, "x" * 4097])
def test_a_text_must_be_short_and_fit_utf8(value):
    with pytest.raises(InvalidInput, match="dag_path"):
        checks.check_text(value, "dag_path")


def test_a_text_may_use_all_of_unicode():
    assert checks.check_text("süß ☕", "dag_path") == "süß ☕"


@pytest.mark.parametrize("value", [True, 1.0, "1", None, -1, 11])
def test_a_whole_number_is_no_bool_and_within_its_bounds(value):
    with pytest.raises(InvalidInput, match="n must be"):
        checks.check_int(value, "n", 0, 10)


@pytest.mark.parametrize("value", [True, "1", None, -0.1, math.inf, math.nan, 1e10])
def test_seconds_are_finite_and_not_negative(value):
    with pytest.raises(InvalidInput, match="wait_s must be"):
        checks.check_seconds(value, "wait_s")


def test_seconds_of_0_are_refused_where_more_is_needed():
    assert checks.check_seconds(0, "wait_s") == 0.0
    with pytest.raises(InvalidInput, match="more than 0"):
        checks.check_seconds(0, "lease_s", positive=True)


@pytest.mark.parametrize("value", ["2026-11-24T10:00:00", "today", "", 5, None, "2026-13-01T00:00:00Z"])
def test_an_instant_needs_a_zone_and_a_calendar(value):
    with pytest.raises(InvalidInput, match="time zone"):
        checks.check_instant(value, "enqueued_at")


def test_one_instant_in_two_zones_is_one_number():
    assert checks.check_instant("2026-11-24T10:00:00Z", "t") == checks.check_instant("2026-11-24T12:00:00+02:00", "t")


@pytest.mark.parametrize(
    "value",
    [{1: "a"}, {"a": math.nan}, [math.inf], {"a": {1, 2}}, [object()], {"a": "\ud800"}, {"\ud800": 1}, 1 << 2000, b"x"],
)
def test_json_that_is_not_json_is_refused(value):
    with pytest.raises(InvalidInput, match="result must"):
        checks.check_json(value, "result")


def test_json_may_be_64_levels_deep_and_no_more():
    value = 1
    for _ in range(64):
        value = [value]
    assert checks.check_json(value, "result") == value
    with pytest.raises(InvalidInput, match="64 levels"):
        checks.check_json([value], "result")


def test_a_value_that_holds_itself_is_too_deep():
    value = []
    value.append(value)
    with pytest.raises(InvalidInput, match="64 levels"):
        checks.check_json(value, "result")


def test_a_small_value_that_is_endless_as_json_is_refused():
    value = [1] * 10
    for _ in range(8):
        value = [value] * 10
    with pytest.raises(InvalidInput, match="items in all"):
        checks.check_json(value, "result")


def test_subclasses_become_plain_json():
    copied = checks.check_json({Colour.RED: (Level.LOW, Colour.RED, Celsius(1.5), True, None)}, "result")
    assert copied == {"red": [1, "red", 1.5, True, None]}
    assert [type(item) for item in copied["red"]] == [int, str, float, bool, type(None)]
    assert type(next(iter(copied))) is str


def test_a_checked_value_is_a_copy():
    inner = {"list": [1]}
    copied = checks.check_json(inner, "result")
    inner["list"].append(2)
    assert copied == {"list": [1]}


def test_an_object_is_a_dict():
    with pytest.raises(InvalidInput, match="an object"):
        checks.check_object([1], "params")


def test_a_size_counts_bytes_not_characters():
    assert checks.check_size("é" * 5, "result", 10) == "é" * 5
    with pytest.raises(InvalidInput, match="at most 10 bytes of JSON, got 12"):
        checks.check_size("é" * 6, "result", 10)


def test_an_error_text_is_cut_to_16_kib_with_a_mark():
    cut = checks.cut_error("é" * 20_000)
    assert len(cut.encode()) <= 16 * 1024
    assert cut.startswith("é" * 100)
    assert cut.endswith("[cut by orch]")
    assert checks.cut_error("x" * 16 * 1024) == "x" * 16 * 1024
    assert checks.cut_error("short") == "short"
    assert checks.cut_error(None) is None


def test_an_error_text_that_utf8_cannot_carry_is_escaped():
    assert checks.cut_error("file \udcff") == "file \\udcff"


def test_an_error_must_be_text():
    with pytest.raises(InvalidInput, match="error must be text"):
        checks.cut_error(ValueError("x"))


def test_a_value_is_shown_short_even_if_its_repr_raises():
    assert checks.shown("x" * 200).endswith("…")
    assert len(checks.shown("x" * 200)) == 80
    assert checks.shown(Silent()) == "<Silent whose repr raised RuntimeError>"


def test_a_worker_id_may_be_empty():
    assert checks.check_worker_id("") == ""
    with pytest.raises(InvalidInput, match="worker_id"):
        checks.check_worker_id("a\tb")


def test_a_document_is_measured_as_json_also_where_its_text_grows_six_times():
    most = (checks.RESULT_MAX - len('{"x":""}')) // 6
    assert checks.check_document({"x": "\0" * most}, "result") == {"x": "\0" * most}
    with pytest.raises(InvalidInput, match="1048576"):
        checks.check_document({"x": "\0" * (most + 1)}, "result")
