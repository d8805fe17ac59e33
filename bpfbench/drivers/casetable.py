"""Reads tables of small programs and what must come out of them (embedded/engine/tests/cases/README.md), and chooses among them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bpfbench.errors import BenchError

EVERYWHERE = frozenset({"mov64", "lddw", "exit"})
"""Instructions that a program about any other ones may use."""


@dataclass(slots=True)
class Row:
    """A program, and what must come out. ``data`` are words of 8 bytes: offset → value, in hexadecimal as a process tells it."""

    name: str
    instructions: list[str] = field(default_factory=list)
    before: dict[int, int] = field(default_factory=dict)
    after: dict[int, str] = field(default_factory=dict)
    result: str | None = None
    """None: the table expects no result, but a refusal, or that engines agree."""
    everywhere: bool = True
    """Whether the kernel, too, takes such a program."""

    @property
    def mnemonics(self) -> frozenset[str]:
        """The names of its instructions."""
        return frozenset(line.split()[0] for line in self.instructions if not line.endswith(":"))

    @property
    def words(self) -> str:
        """The program as a process takes it: words before, offsets of words after, instructions."""
        before = ",".join(f"{at}={value:#x}" for at, value in self.before.items())
        return f"{before}|{','.join(str(at) for at in self.after)}|{'; '.join(self.instructions)}"


def read_tables(folder: Path) -> list[Row]:
    """Return all rows of the tables in ``folder`` that have a result on every engine, table by table in the order of their names."""
    rows = [row for path in sorted(folder.glob("*.case")) for row in _rows(path)]
    return [row for row in rows if row.result is not None and row.everywhere]


def about(rows: Collection[Row], instructions: Collection[str], beside: Collection[str]) -> list[Row]:
    """Return the rows that use at least one of ``instructions``, and else only those ``beside`` and such as any program has."""
    wanted, allowed = set(instructions), {*instructions, *beside, *EVERYWHERE}
    return [row for row in rows if row.mnemonics & wanted and row.mnemonics <= allowed]


def named(rows: Collection[Row], names: Collection[str]) -> list[Row]:
    """Return the rows of those names. Raises ``BenchError`` for a name that no row has."""
    found = {row.name: row for row in rows}
    for name in names:
        if name not in found:
            raise BenchError(f'no table has a program called "{name}"')
    return [found[name] for name in names]


def _rows(path: Path) -> Iterator[Row]:
    block: Row | None = None
    for number, text in enumerate(path.read_text().splitlines(), 1):
        line = text.partition("#")[0].strip()
        if not line:
            continue
        try:
            if "|" in line or line.startswith("case "):
                if block:
                    yield block
                block = _row(line) if "|" in line else Row(line.removeprefix("case ").strip())
            elif block:
                _take(block, line)
            else:
                raise ValueError("it belongs to no case")
        except ValueError as error:
            raise BenchError(f"{path.name}:{number}: cannot be understood: {line}") from error
    if block:
        yield block


def _row(line: str) -> Row:
    name, instructions, expectation = (part.strip() for part in line.split("|"))
    row = Row(name, [each.strip() for each in instructions.split(";") if each.strip()])
    if not expectation.startswith("refused "):
        row.result = _word(expectation)
    return row


def _take(block: Row, line: str) -> None:
    """Take in one line of a block."""
    word, *rest = line.split()
    if word in ("before", "after"):
        at, value = rest
        if word == "before":
            block.before[int(at, 0)] = int(value, 0) % 2**64
        else:
            block.after[int(at, 0)] = _word(value)
    elif word == "result":
        block.result = _word(rest[0])
    elif word in ("refused", "seed"):
        block.result = None
    elif line == "not kernel":
        block.everywhere = False
    elif re.fullmatch(r"\w+:|[a-z]\w*( .*)?", line):
        block.instructions.append(line)
    else:
        raise ValueError(line)


def _word(number: str) -> str:
    """Return a number as the eight bytes that it is in memory, in hexadecimal."""
    return (int(number, 0) % 2**64).to_bytes(8, "little").hex()
