"""YAML text to plain data, with the line and column of every key and value.

The dialect is narrow on purpose: one document; text keys, each given once; no anchors, aliases, merge keys or
tags (so no document is bigger than its text); plain scalars follow the YAML 1.2 core schema, without its
hexadecimal, octal, infinite and not-a-number forms. ``no``, ``on``, ``2024-01-01``, ``017`` and ``1_000`` are
text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from bpfbench.model.problems import Path, SpecErrors, SpecProblem, field_name, shorten
from bpfbench.model.types import Location

MOST_BYTES = 1 << 20
"""A larger file is refused."""
MOST_DEPTH = 32
"""Deeper nesting is refused."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}
# Beside what YAML forbids, this refuses raw NEL, LS and PS: YAML 1.1 counts them as line ends and editors do
# not; and the byte-order mark, which editors hide.
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)

_Mark = tuple[int, int]
# libyaml's parser is several times as fast as the one in Python, and most wheels have it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Document:
    """The plain data of one file, and where all of it was written (lines and columns from 1)."""

    file: str
    data: Any
    keys: Mapping[Path, _Mark]
    """Where the key of a mapping's value stands."""
    values: Mapping[Path, _Mark]

    def key(self, path: Path) -> Location:
        """Locate the key of the value at ``path`` (the value itself where it has no key)."""
        return Location(self.file, *(self.keys.get(path) or self._value(path)))

    def value(self, path: Path) -> Location:
        """Locate a value; of a list or mapping that has a key, the key, which is where a reader looks."""
        if path in self.keys and isinstance(self.get(path), list | dict):
            return self.key(path)
        return Location(self.file, *self._value(path))

    def get(self, path: Path) -> Any:
        """Return the value at ``path``, or None where there is none."""
        here = self.data
        for step in path:
            try:
                here = here[step]
            except (LookupError, TypeError):
                return None
        return here

    def _value(self, path: Path) -> _Mark:
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path, (1, 1))


def parse(text: bytes | str, file: str) -> Document:
    """Read one YAML document; ``file`` is the name used in messages.

    Raises ``SpecErrors`` with every problem of the text (of a syntax error: that and those before it), and
    nothing else.
    """
    decoded = _decode(text, file)
    composer = _Composer(file)
    try:
        data = composer.document(decoded)
    except yaml.MarkedYAMLError as error:
        raise SpecErrors([*composer.problems, _syntax(error, decoded, file)]) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # A reader's or an escape's error carries no mark.
        problem = SpecProblem(composer.last, "", f"not valid YAML: {shorten(str(error), 200)}")
        raise SpecErrors([*composer.problems, problem]) from None
    if composer.problems:
        raise SpecErrors(composer.problems)
    return Document(file, data, composer.keys, composer.values)


def _decode(text: bytes | str, file: str) -> str:
    if len(text) > MOST_BYTES:
        raise _refusal(file, "", f"the file has {len(text)} bytes", f"at most {MOST_BYTES} bytes")
    if isinstance(text, bytes):
        try:
            decoded = text.decode("utf-8")
        except UnicodeDecodeError as error:
            before = text[: error.start].decode("utf-8")
            byte = f"the byte 0x{text[error.start]:02x} is not valid UTF-8"
            raise _refusal(file, before, byte, "text in UTF-8") from None
    else:
        decoded = text
    decoded = decoded.removeprefix("\ufeff")
    if bad := _FORBIDDEN.search(decoded):
        character = f"the character U+{ord(bad[0]):04X} is not allowed"
        raise _refusal(file, decoded[: bad.start()], character, "printable text")
    return decoded


def _refusal(file: str, before: str, message: str, expected: str) -> SpecErrors:
    lines = before.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return SpecErrors([SpecProblem(Location(file, len(lines), len(lines[-1]) + 1), "", message, expected)])


def _syntax(error: yaml.MarkedYAMLError, text: str, file: str) -> SpecProblem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    lines = text.splitlines() or [""]
    rest = lines[line][column:] if line < len(lines) else ""
    hint = None
    if rest.startswith("\t"):
        hint = "indent with spaces, not with tabs"
    elif "mapping values are not allowed" in str(error.problem):
        hint = 'put a text that holds ": " in quotes, and check the indentation'
    elif rest[:1] in {"%", "@", "`"}:
        hint = f"put a text that starts with {rest[0]} in quotes"
    why = str(error.problem or error.context)
    return SpecProblem(Location(file, line + 1, column + 1), "", f"not valid YAML: {why}", hint=hint)


class _Composer:
    """Turns parser events into plain data; collects problems instead of stopping at the first."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.problems: list[SpecProblem] = []
        self.keys: dict[Path, _Mark] = {}
        self.values: dict[Path, _Mark] = {}
        self.last = Location(file, 1, 1)

    def document(self, text: str) -> Any:
        events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))
        data, documents = None, 0
        for event in events:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            documents += 1
            if documents > 1:
                self.refuse(event, (), "a second YAML document", "one document a file")
                break
            data = self.node(next(events), events, ())
        if not documents:
            self.values[()] = (1, 1)
        return data

    def node(self, event: Any, events: Iterator[Any], path: Path) -> Any:
        self.last = Location(self.file, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            alias = f'the alias "*{shorten(str(event.anchor))}"'
            self.refuse(event, path, alias, "the value itself: aliases are not allowed")
            return None
        if event.anchor is not None:
            self.refuse(event, path, f'the anchor "&{shorten(event.anchor)}"', "a value without an anchor")
        if event.tag is not None:
            self.refuse(event, path, f'the tag "{shorten(event.tag)}"', "a value without a tag")
        self.values[path] = (self.last.line, self.last.column)
        if isinstance(event, yaml.ScalarEvent):
            return self.scalar(event, path)
        if len(path) >= MOST_DEPTH:
            self.refuse(event, path[:3], f"nested more than {MOST_DEPTH} deep", "a flatter document")
            raise SpecErrors(self.problems)
        if isinstance(event, yaml.SequenceStartEvent):
            return self.sequence(events, path)
        return self.mapping(events, path)

    def sequence(self, events: Iterator[Any], path: Path) -> list[Any]:
        items: list[Any] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, events, (*path, len(items))))
        return items

    def mapping(self, events: Iterator[Any], path: Path) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            name = self.member(event, events, path)
            inside = (*path, name)
            mark = (event.start_mark.line + 1, event.start_mark.column + 1)
            if name in members:
                first = Location(self.file, *self.keys[inside])
                self.refuse(event, inside, "given twice", "every key once", f"the first is at {first}")
            else:
                self.keys[inside] = mark
            members[name] = self.node(next(events), events, inside)
        return members

    def member(self, event: Any, events: Iterator[Any], path: Path) -> str:
        """Read a key; a key that is refused gets a name of its own, so that reading can go on."""
        substitute = f"\0{len(self.problems)}"
        plain = isinstance(event, yaml.ScalarEvent) and not event.style
        if plain and event.value == "<<":
            self.refuse(event, path, "a merge key (<<)", "the keys themselves: merge keys are not allowed")
            self.last = self.at(event)
            return substitute
        before = len(self.problems)
        name = self.node(event, events, (*path, substitute))
        self.values.pop((*path, substitute), None)
        if isinstance(name, str):
            return name
        if before == len(self.problems):
            hint = f'put it in quotes: "{shorten(event.value)}"' if plain and event.value else None
            self.refuse(event, path, "a key that is not text", "text", hint)
        return substitute

    def scalar(self, event: yaml.ScalarEvent, path: Path) -> Any:
        text: str = event.value
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            self.refuse(event, path, "half of a surrogate pair", "whole characters")
            return None
        if event.style:
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            if len(text) <= 20 and abs(int(text)) < 1 << 63:
                return int(text)
        elif _FLOAT.fullmatch(text):
            number = float(text)
            if abs(number) != float("inf"):
                return number
        else:
            return text
        message, hint = "a number that is too large", "put it in quotes if it is text"
        self.refuse(event, path, message, "a number below 2^63", hint)
        return None

    def at(self, event: Any) -> Location:
        return Location(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def refuse(self, event: Any, path: Path, what: str, expected: str, hint: str | None = None) -> None:
        shown = tuple(step for step in path if not str(step).startswith("\0"))
        self.problems.append(SpecProblem(self.at(event), field_name(shown), what, expected, hint))
