"""Reading YAML without losing places: what is read, what is refused, and where the fault is said to be."""

import pytest
import yaml

from orch import yaml_marks
from orch.checks import check_int
from orch.yaml_marks import DEPTH_MAX, SIZE_MAX, Reader, did_you_mean, shown_faults


@pytest.fixture(params=["c", "python"])
def loader(request, monkeypatch):
    """Both parsers of PyYAML: the C one may be missing somewhere."""
    parser = yaml.CSafeLoader if request.param == "c" else yaml.SafeLoader
    monkeypatch.setattr(yaml_marks, "_LOADER", parser)


pytestmark = pytest.mark.usefixtures("loader")


def read(text):
    """The JSON value of a text, and its faults as texts."""
    reader = Reader("f.yaml")
    root = reader.read(text)
    value = None if root is None else reader.json(root, "")
    return value, [str(fault) for fault in reader.faults]


def faults(text):
    return read(text)[1]


def test_the_c_parser_is_used_where_it_is():
    assert yaml.__with_libyaml__


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 1", {"a": 1}),
        ("{a: [1, -2, 0x1f, 1_000], b: {c: 1.5}}", {"a": [1, -2, 31, 1000], "b": {"c": 1.5}}),
        ("a: yes\nb: false\nc: ~\nd:\ne: null", {"a": True, "b": False, "c": None, "d": None, "e": None}),
        ("a: 'no'\nb: \"12:30\"\nc: '2026-01-01'\nd: '<<'", {"a": "no", "b": "12:30", "c": "2026-01-01", "d": "<<"}),
        ("a: =\nb: <<", {"a": "=", "b": "<<"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("a: !!str 5\nb: !!int '7'\nc: !!map {}\nd: !!seq []", {"a": "5", "b": 7, "c": {}, "d": []}),
        ("a: &x [1]\nb: *x\nc: &x 2\nd: *x", {"a": [1], "b": [1], "c": 2, "d": 2}),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"q": 3, "p": 1}}),
        ("b: {<<: [{p: 1}, {p: 2, q: 2}]}", {"b": {"p": 1, "q": 2}}),
        ("\ufeffa: é", {"a": "é"}),
        ("---\na: 1\n...\n", {"a": 1}),
        ("text", "text"),
    ],
)
def test_what_can_be_json_is_read(text, value):
    assert read(text) == (value, [])
    assert read(text.encode()) == (value, [])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\na: 2", "f.yaml:2:1 a: duplicate key, first given in line 1"),
        ("a: {b: 1, c: 2, b: 3}", "f.yaml:1:17 a.b: duplicate key, first given in line 1"),
        (
            "on: 1",
            "f.yaml:1:1 a key: expected text, got on, which YAML reads as true or false; if it is text, quote it",
        ),
        ("1: 1", "f.yaml:1:1 a key: expected text, got 1, which YAML reads as a number; if it is text, quote it: '1'"),
        ("? [a]\n: 1", "f.yaml:1:3 a key: expected text, got a list"),
        ("a: 12:30", "f.yaml:1:4 a: expected JSON, got 12:30, which YAML reads as a number; if it is text, quote it"),
        ("a: 1:30.5", "f.yaml:1:4 a: expected JSON, got 1:30.5, which YAML reads as a number"),
        ("a: [2026-01-01]", "f.yaml:1:5 a[0]: expected JSON, got 2026-01-01, which YAML reads as a date"),
        ("a: .nan", "f.yaml:1:4 a: expected JSON, which has no .nan"),
        ("a: -.inf", "f.yaml:1:4 a: expected JSON, which has no -.inf"),
        ("a: !!int x", "f.yaml:1:4 a: expected JSON, got 'x' with the tag !!int"),
        ("a: !!bool maybe", "f.yaml:1:4 a: expected JSON, got 'maybe' with the tag !!bool"),
        ("a: !!binary aGk=", "f.yaml:1:4 a: expected JSON, got 'aGk=' with the tag !!binary"),
        ("a: !mine x", "f.yaml:1:4 a: expected JSON, got 'x' with the tag !mine"),
        ("a: !!python/object/apply:os.system [ls]", "f.yaml:1:4: expected no tag, got tag:yaml.org,2002:python/object"),
        ("a: !!set {x}", "f.yaml:1:4: expected no tag, got tag:yaml.org,2002:set"),
        ("a: " + "9" * 5000, "f.yaml:1:4 a: expected JSON, got '9999"),
        ("a: 0b_", "f.yaml:1:4 a: expected JSON, got '0b_' with the tag !!int"),
        ("{<<: 1}", "f.yaml:1:6 <<: expected a mapping, or a list of mappings, got 1"),
    ],
)
def test_what_is_no_json_is_a_fault_at_its_place(text, fault):
    assert len(faults(text)) == 1
    assert faults(text)[0].startswith(fault)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "f.yaml:1:1: expected a document, the file is empty"),
        ("# only a comment\n", "f.yaml:1:1: expected a document, the file is empty"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: expected one document, found a second one: split the file"),
        ("a: 1\nb: [1, 2}", "f.yaml:2:9: expected YAML: while parsing a flow sequence"),
        ("a: b: c", "f.yaml:1:5: expected YAML: mapping values are not allowed"),
        ("a: *nobody", "f.yaml:1:4: expected the alias of an anchor, but nothing before is named &nobody"),
        ("a: 1\nb: \x07", "f.yaml:2:4: expected text, got the control character '\\x07'"),
        ("é: \ud800", "f.yaml:1:4: expected UTF-8"),
        (b"a: 1\nb: \xff", "f.yaml:2:4: expected UTF-8: invalid start byte"),
        ("a: 1".encode("utf-16"), "f.yaml:1:1: expected UTF-8"),
        ("%YAML 3.0\n---\na: 1", "f.yaml:1:1: expected YAML: found incompatible YAML document"),
    ],
)
def test_what_is_no_yaml_is_a_fault_at_its_place(text, fault):
    assert len(faults(text)) == 1
    assert faults(text)[0].startswith(fault)
    assert read(text)[0] is None


def test_a_tab_as_indentation_is_named():
    assert faults("a:\n\tb: 1")[0].endswith("; indent with spaces, not with a tab")
    assert "tab" not in faults("a: b: c\td")[0]


def test_all_faults_are_found_in_the_order_of_the_lines():
    found = faults("a: .nan\nb: 2026-01-01\na: 1\nd: {e: .inf, e: 1}")
    assert [fault.split(" ")[0] for fault in found] == [
        "f.yaml:1:4",
        "f.yaml:2:4",
        "f.yaml:3:1",
        "f.yaml:4:8",
        "f.yaml:4:14",
    ]


def test_a_fault_below_an_alias_is_noted_once_per_key():
    assert len(faults("a: &x {b: .nan}\nc: *x")) == 2
    reader = Reader("f")
    root = reader.read("a: .nan")
    reader.json(root, "")
    reader.json(root, "")
    assert len(reader.faults) == 1


# -- bounds ------------------------------------------------------------------------------------------------------


def bomb(levels, width=10):
    lines = [f"a0: &a0 [{','.join('x' * width)}]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]" for i in range(1, levels)]
    return "\n".join(lines)


@pytest.mark.promise("D7")
def test_a_yaml_bomb_is_refused_before_it_is_written_out():
    assert read(bomb(3))[1] == []
    assert "expected at most 1048576 characters with all aliases written out" in faults(bomb(9))[0]
    assert "aliases written out" in faults(bomb(60))[0]


@pytest.mark.promise("D7")
def test_a_long_text_behind_many_aliases_counts_too():
    text = f"a: &a {'x' * 300_000}\nb: [*a, *a, *a, *a]"
    assert "aliases written out" in faults(text)[0]


@pytest.mark.promise("D7")
def test_a_value_that_contains_itself_is_refused():
    assert faults("a: &x [1, {b: *x}]") == ["f.yaml:1:15: expected a finite value, but *x contains itself"]


@pytest.mark.promise("D7")
@pytest.mark.parametrize("text", ["a: " + "[" * 3_000, "a: " + "{b: " * 3_000, "- " * 3_000 + "x"], ids=["[", "{", "-"])
def test_deep_nesting_is_refused_without_recursion(text):
    assert faults(text)[0].endswith(f"expected at most {DEPTH_MAX} levels of lists and mappings")


@pytest.mark.promise("D7")
def test_depth_through_aliases_counts_too():
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2_000))
    assert faults(chain)[0].endswith("levels of lists and mappings")


def test_the_greatest_depth_is_allowed():
    deep = DEPTH_MAX - 1
    assert faults("a: " + "[" * deep + "]" * deep) == []
    assert faults("a: " + "[" * (deep + 1) + "]" * (deep + 1)) != []


@pytest.mark.promise("D7")
def test_a_huge_text_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr(yaml, "parse", None)
    assert faults("#" * (SIZE_MAX + 1)) == [
        f"f.yaml:1:1: expected at most {SIZE_MAX} bytes, got {SIZE_MAX + 1}; keep data out of this file"
    ]


# -- shapes ------------------------------------------------------------------------------------------------------


def reading(text):
    reader = Reader("f.yaml")
    return reader, reader.read(text)


def test_a_mapping_has_the_keys_it_may_and_must_have():
    reader, root = reading("a: 1\nretrys: 2\nzzz: 3")
    found = reader.mapping(root, "top", ("a", "retries", "name"), required=("a", "name"))
    assert list(found) == ["a"]
    assert [str(fault) for fault in reader.faults] == [
        "f.yaml:1:1 top.name: missing",
        "f.yaml:2:1 top.retrys: unknown key (did you mean 'retries'?); the keys are a, retries, name",
        "f.yaml:3:1 top.zzz: unknown key; the keys are a, retries, name",
    ]


@pytest.mark.parametrize(
    ("method", "text", "said"),
    [
        ("mapping", "[1]", "expected a mapping with the keys a, got a list"),
        ("mapping", "~", "expected a mapping with the keys a, got nothing"),
        ("items", "{}", "expected a list, got a mapping"),
        ("items", "x", "expected a list, got 'x'"),
        ("text", "[]", "expected text, got a list"),
        ("text", "", "the file is empty"),
        ("text", "~", "expected text, got nothing"),
        ("object", "3", "expected a mapping, got 3"),
    ],
)
def test_another_shape_is_a_fault(method, text, said):
    reader, root = reading(text)
    if root is not None:
        extra = (("a",),) if method == "mapping" else ()
        assert getattr(reader, method)(root, "k", *extra) is None
    assert said in str(reader.faults[0])


def test_a_checked_value_is_what_the_check_gives_or_a_fault():
    reader, root = reading("[3, x, ~, .nan]")
    three, text, null, nan = root.items

    def number(value):
        return check_int(value, "n", 0)

    assert reader.checked(three, "a", reader.json, number) == 3
    assert reader.checked(None, "b", reader.json, number) is None
    assert reader.checked(null, "c", reader.json, number) is None
    assert reader.faults == ()
    assert reader.checked(text, "d", reader.json, number) is None
    assert reader.checked(nan, "e", reader.json, number) is None
    assert reader.checked(null, "f", reader.json, number, null=False) is None
    assert [fault.key for fault in reader.faults] == ["d", "f", "e"]


def test_a_message_shows_a_hundred_faults_and_counts_the_rest():
    assert shown_faults(["a"] * 3) == ["a", "a", "a"]
    assert shown_faults(["a"] * 103) == ["a"] * 100 + ["... and 3 more"]


def test_did_you_mean_names_something_close_or_nothing():
    assert did_you_mean("depend_on", ["id", "depends_on"]) == " (did you mean 'depends_on'?)"
    assert did_you_mean("zzz", ["id"]) == ""
