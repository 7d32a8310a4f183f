"""A YAML document read as nodes that know their place, with every fault noted instead of the first one raised.

Law: whatever the text holds, reading it is bounded by its size: no recursion deeper than `DEPTH_MAX`, no alias
written out beyond `SIZE_MAX`, nothing built but text, numbers, booleans, null, lists and mappings. A key that is
unknown, missing or given twice is a fault. What the keys mean is left to `orch.dag` and others who read files.

PyYAML's own loaders lose positions, let a second key overwrite the first, recurse as deep as the text does, and write
aliases out; so the text is taken as events, which its C parser gives one by one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NoReturn, TypeVar

import yaml

from orch import checks
from orch.errors import InvalidInput

SIZE_MAX = 1024 * 1024  # bytes of a document, and characters of one whose aliases are written out
DEPTH_MAX = checks.DEPTH_MAX + 8  # levels of lists and mappings; what is kept as JSON is checked for its own 64
SHOWN_MAX = 100  # faults in one message

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file: where (line and column from 1), under which key, and what was expected."""

    file: str
    line: int
    column: int
    key: str
    message: str

    def __str__(self) -> str:
        key = f" {self.key}" if self.key else ""
        return f"{self.file}:{self.line}:{self.column}{key}: {self.message}"


class Form(StrEnum):
    """What a node is; the value is how messages call it."""

    SCALAR = "a value"
    LIST = "a list"
    MAP = "a mapping"


@dataclass(slots=True)
class Node:
    """A value of the document with its place (line and column from 0). An alias is the node it names."""

    form: Form
    tag: str
    line: int
    column: int
    text: str = ""  # of a scalar
    items: list[Node] = field(default_factory=list)  # of a list; of a mapping: key, value, key, value, ...
    weight: int = 1  # nodes and characters, aliases written out
    height: int = 1
    complete: bool = False  # its end was read

    @property
    def is_null(self) -> bool:
        """Nothing is written there, or null."""
        return self.tag == _NULL


def shown_faults(faults: Sequence[object]) -> list[str]:
    """Faults as texts, the first 100 of them and a line that counts the rest."""
    lines = [str(fault) for fault in faults[:SHOWN_MAX]]
    if len(faults) > SHOWN_MAX:
        lines.append(f"... and {len(faults) - SHOWN_MAX} more")
    return lines


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """` (did you mean 'x'?)` if one of the first 1,000 names is close, else nothing."""
    from difflib import get_close_matches  # only a faulty file pays for it

    known = [name for name, _ in zip(names, range(1_000), strict=False)]
    close = get_close_matches(word, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def join_key(key: str, name: str) -> str:
    """The name of a key inside another: `tasks[0]` and `id` give `tasks[0].id`."""
    return f"{key}.{name}" if key else name


# PyYAML is untyped in these places.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_YAML = "tag:yaml.org,2002:"
_STR, _NULL, _BOOL, _INT, _FLOAT, _DATE, _MERGE, _VALUE = (
    _YAML + name for name in ("str", "null", "bool", "int", "float", "timestamp", "merge", "value")
)
_TEXT = (_STR, _MERGE, _VALUE)  # `<<` and `=` are plain text wherever they are no key
_READS_AS = {_BOOL: "true or false", _INT: "a number", _FLOAT: "a number", _DATE: "a date"}


class _Stop(Exception):
    """The text cannot be read further; its fault is noted."""


class Reader:
    """Reads one document and collects what is wrong with it.

    `read` gives the root; the other methods take a node and the name of its key, give the value that is expected
    there, and note a fault where it is something else.
    """

    def __init__(self, file: str) -> None:
        self.file = file
        self._faults: list[Fault] = []

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What was noted so far, each once, in the order of the lines."""
        return tuple(sorted(dict.fromkeys(self._faults), key=lambda fault: (fault.line, fault.column)))

    def fault(self, node: Node, key: str, message: str) -> None:
        """Note a fault at a node."""
        self._note(node.line, node.column, key, message)

    # -- values ----------------------------------------------------------------------------------------------------

    def mapping(
        self, node: Node, key: str, names: Sequence[str], required: Sequence[str] = ()
    ) -> dict[str, Node] | None:
        """The values of a mapping by key; unknown, repeated and missing keys are faults. None if it is no mapping."""
        if node.form is not Form.MAP:
            self._expected(node, key, f"a mapping with the keys {', '.join(required or names)}")
            return None
        found: dict[str, Node] = {}
        for name, key_node, value in self._entries(node, key):
            if name in names:
                found[name] = value
            else:
                hint = did_you_mean(name, names)
                self.fault(key_node, join_key(key, name), f"unknown key{hint}; the keys are {', '.join(names)}")
        for name in required:
            if name not in found:
                self.fault(node, join_key(key, name), "missing")
        return found

    def items(self, node: Node, key: str, what: str = "a list") -> list[Node] | None:
        """The items of a list; None if it is none."""
        if node.form is Form.LIST:
            return node.items
        self._expected(node, key, what)
        return None

    def text(self, node: Node, key: str) -> str | None:
        """A text; None for everything that YAML reads as something else."""
        if node.form is Form.SCALAR and node.tag in _TEXT:
            return node.text
        self._expected(node, key, "text")
        return None

    def json(self, node: Node, key: str) -> Any:
        """A JSON value; None in the place of what is none."""
        if node.form is Form.LIST:
            return [self.json(item, f"{key}[{index}]") for index, item in enumerate(node.items)]
        if node.form is Form.MAP:
            return {name: self.json(value, join_key(key, name)) for name, _, value in self._entries(node, key)}
        if node.tag in _TEXT:
            return node.text
        if node.tag == _NULL:
            return None
        try:
            value = _plain(node)
        except (ValueError, KeyError, OverflowError):
            self.fault(node, key, f"expected JSON, got {_tagged(node)}")
            return None
        if value is None:
            self._expected(node, key, "JSON")
        elif value in (float("inf"), float("-inf")) or value != value:  # noqa: PLR0124 -- true of NaN only
            self.fault(node, key, f"expected JSON, which has no {node.text}; use null or a text")
            return None
        return value

    def object(self, node: Node, key: str) -> dict[str, Any] | None:
        """A JSON object; None if it is no mapping."""
        if node.form is Form.MAP:
            value: dict[str, Any] = self.json(node, key)
            return value
        self._expected(node, key, "a mapping")
        return None

    def checked(
        self,
        node: Node | None,
        key: str,
        read: Callable[[Node, str], Any],
        check: Callable[[Any], _T],
        *,
        null: bool = True,
    ) -> _T | None:
        """What `read` and then `check` (which may raise `InvalidInput`) make of a value.

        None if it is faulty, not there, or, with `null`, written as null.
        """
        if node is None or (null and node.is_null):
            return None
        count = len(self._faults)
        value = read(node, key)
        if len(self._faults) > count:
            return None
        try:
            return check(value)
        except InvalidInput as error:
            self.fault(node, key, str(error))
            return None

    def _entries(self, node: Node, key: str) -> list[tuple[str, Node, Node]]:
        """Key, its node and its value's: own keys first, then those of `<<` that are not among them."""
        own: dict[str, tuple[str, Node, Node]] = {}
        merged: list[tuple[str, Node, Node]] = []
        for key_node, value in zip(node.items[::2], node.items[1::2], strict=True):
            if key_node.tag == _MERGE:
                for source in value.items if value.form is Form.LIST else [value]:
                    if source.form is Form.MAP:
                        merged += self._entries(source, key)
                    else:
                        self._expected(source, join_key(key, "<<"), "a mapping, or a list of mappings")
                continue
            name = self.text(key_node, join_key(key, "a key"))
            if name in own:
                first = own[name][1]
                self.fault(key_node, join_key(key, name), f"duplicate key, first given in line {first.line + 1}")
            elif name is not None:
                own[name] = (name, key_node, value)
        for entry in merged:
            own.setdefault(entry[0], entry)
        return list(own.values())

    # -- text to nodes ---------------------------------------------------------------------------------------------

    def read(self, text: str | bytes) -> Node | None:
        """The root of the document, or None if it cannot be read.

        A fault of the YAML itself ends the reading, as what follows it would be a guess.
        """
        try:
            return self._compose(self._decode(text))
        except _Stop:
            return None

    def _decode(self, text: str | bytes) -> str:
        try:
            data = text.encode() if isinstance(text, str) else text
            if len(data) > SIZE_MAX:
                self._stop(0, 0, f"expected at most {SIZE_MAX} bytes, got {len(data)}; keep data out of this file")
            decoded = data.decode("utf-8-sig")
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            before = text[:start] if isinstance(text, str) else text[:start].decode("utf-8", "replace")
            self._stop(*_place(before), f"expected UTF-8: {error.args[-1]}")
        bad = _UNPRINTABLE.search(decoded)
        if bad:
            self._stop(*_place(decoded[: bad.start()]), f"expected text, got the control character {bad.group()!r}")
        return decoded

    def _compose(self, text: str) -> Node:
        try:
            root = self._document(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line, mark.column) if mark else (0, 0)
            hint = "; indent with spaces, not with a tab" if _has_tab(text, line) else ""
            said = ", ".join(part for part in (error.context, error.problem) if part)
            self._stop(line, column, f"expected YAML: {said}{hint}")
        if root is None:
            self._stop(0, 0, "expected a document, the file is empty")
        return root

    def _document(self, text: str) -> Node | None:
        anchors: dict[str, Node] = {}
        parents: list[Node] = []  # the lists and mappings whose end is not read yet
        root: Node | None = None
        for event in yaml.parse(text, Loader=_LOADER):
            match event:
                case yaml.ScalarEvent():
                    node = Node(Form.SCALAR, _tag_of(event), *_start(event), text=event.value)
                    node.weight += len(event.value)
                case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                    node = self._opened(event)
                case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                    node = parents.pop()
                case yaml.AliasEvent():
                    node = self._alias(event, anchors)
                case yaml.DocumentStartEvent() if root is not None:
                    self._stop(*_start(event), "expected one document, found a second one: split the file")
                case _:
                    continue
            if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.anchor:
                anchors[event.anchor] = node
            if isinstance(event, yaml.CollectionStartEvent):
                parents.append(node)
                self._bound(event, 1, len(parents))
                continue
            node.complete = True
            if not parents:
                root = node
                continue
            parent = parents[-1]
            parent.items.append(node)
            parent.weight += node.weight
            parent.height = max(parent.height, node.height + 1)
            self._bound(event, parent.weight, len(parents) + node.height - (node.form is Form.SCALAR))
        return root

    def _opened(self, event: yaml.CollectionStartEvent) -> Node:
        form, name = (Form.LIST, "seq") if isinstance(event, yaml.SequenceStartEvent) else (Form.MAP, "map")
        if event.tag not in (None, "!", _YAML + name):
            self._note(*_start(event), "", f"expected no tag, got {event.tag}: only JSON can be written here")
        return Node(form, _YAML + name, *_start(event))

    def _alias(self, event: yaml.AliasEvent, anchors: Mapping[str, Node]) -> Node:
        node = anchors.get(event.anchor or "")
        if node is None:
            self._stop(*_start(event), f"expected the alias of an anchor, but nothing before is named &{event.anchor}")
        if not node.complete:
            self._stop(*_start(event), f"expected a finite value, but *{event.anchor} contains itself")
        return node

    def _bound(self, event: yaml.Event, weight: int, depth: int) -> None:
        if weight > SIZE_MAX:
            self._stop(*_start(event), f"expected at most {SIZE_MAX} characters with all aliases written out")
        if depth > DEPTH_MAX:
            self._stop(*_start(event), f"expected at most {DEPTH_MAX} levels of lists and mappings")

    # -- faults ----------------------------------------------------------------------------------------------------

    def _expected(self, node: Node, key: str, what: str) -> None:
        self.fault(node, key, f"expected {what}, got {_got(node)}")

    def _note(self, line: int, column: int, key: str, message: str) -> None:
        self._faults.append(Fault(self.file, line + 1, column + 1, key, message))

    def _stop(self, line: int, column: int, message: str) -> NoReturn:
        self._note(line, column, "", message)
        raise _Stop


def _plain(node: Node) -> bool | int | float | None:
    """The value of a scalar as PyYAML reads it; None for what is no JSON, or what nobody means (12:30 is 750)."""
    scalar = yaml.ScalarNode(node.tag, node.text)
    if node.tag == _BOOL:
        return bool(_CONSTRUCTOR.construct_yaml_bool(scalar))
    if node.tag == _INT and ":" not in node.text:
        return int(_CONSTRUCTOR.construct_yaml_int(scalar))
    if node.tag == _FLOAT and ":" not in node.text:
        return float(_CONSTRUCTOR.construct_yaml_float(scalar))
    return None


def _got(node: Node) -> str:
    if node.form is not Form.SCALAR:
        return node.form
    if node.tag == _NULL:
        return "nothing"
    if node.tag in _READS_AS:
        text = checks.shown(node.text)
        return f"{node.text[:80]}, which YAML reads as {_READS_AS[node.tag]}; if it is text, quote it: {text}"
    return checks.shown(node.text) if node.tag == _STR else _tagged(node)


def _tagged(node: Node) -> str:
    tag = f"!!{node.tag.removeprefix(_YAML)}" if node.tag.startswith(_YAML) else node.tag
    return f"{checks.shown(node.text)} with the tag {tag}"


def _tag_of(event: yaml.ScalarEvent) -> str:
    if event.tag is None or event.tag == "!":
        return str(_RESOLVER.resolve(yaml.ScalarNode, event.value, event.implicit))
    return str(event.tag)


def _start(event: yaml.Event) -> tuple[int, int]:
    mark = event.start_mark
    assert mark is not None  # every event that a parser gives has one
    return mark.line, mark.column


def _place(before: str) -> tuple[int, int]:
    """Line and column, from 0, of what follows this text."""
    return before.count("\n"), len(before) - before.rfind("\n") - 1


def _has_tab(text: str, line: int) -> bool:
    lines = text.split("\n", line + 1)
    return line < len(lines) and "\t" in lines[line][: len(lines[line]) - len(lines[line].lstrip())]
