"""What can be wrong with a spec, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bpfbench.errors import BenchError
from bpfbench.model.types import Location

Path = tuple[str | int, ...]
"""Where a value sits inside a document: ``("cases", 3, "divisor")``."""


@dataclass(frozen=True, slots=True)
class SpecProblem:
    """One thing that is wrong: where, in which field, what was found and expected, what to do about it."""

    location: Location
    field: str
    """``cases[3].divisor``; empty for the document as a whole."""
    message: str
    expected: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        lines = [": ".join(part for part in (str(self.location), self.field, self.message) if part)]
        if self.expected is not None:
            lines.append(f"    expected {self.expected}")
        if self.hint is not None:
            lines.append(f"  → {self.hint}")
        return "\n".join(lines)


class SpecErrors(BenchError):
    """All that is wrong with the specs, in the order of files and lines."""

    def __init__(self, errors: Iterable[SpecProblem]) -> None:
        self.errors: tuple[SpecProblem, ...] = tuple(sorted(set(errors), key=_order))
        super().__init__("\n".join(str(error) for error in self.errors))


def _order(problem: SpecProblem) -> tuple[str, int, int, str, str]:
    at = problem.location
    return (at.file, at.line, at.column, problem.field, problem.message)


def field_name(path: Path) -> str:
    """Write a path as people write it: ``cases[3].divisor``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step and all(letter.isalnum() or letter in "_-" for letter in step):
            text += f".{step}" if text else step
        else:
            text += f'["{shorten(step)}"]'
    return text


def shorten(text: str, most: int = 60) -> str:
    """Return ``text`` on one line of at most ``most`` characters."""
    line = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return line if len(line) <= most else line[: most - 1] + "…"


def found(value: object) -> str:
    """Say in plain words what a value from a spec is."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f'the text "{shorten(value)}"'
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "a mapping" if value else "an empty mapping"


def one_of(names: Iterable[str], most: int = 20) -> str:
    """List valid names; a long list is cut and says so."""
    ordered = sorted(names)
    if not ordered:
        return "nothing (there are none)"
    more = f", … ({len(ordered) - most} more)" if len(ordered) > most else ""
    return "one of: " + ", ".join(ordered[:most]) + more


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Return the one of ``names`` that ``name`` was probably meant to be, if any is near."""
    import difflib

    candidates: Sequence[str] = sorted(set(names))
    folded = {candidate.lower().replace("_", "-"): candidate for candidate in reversed(candidates)}
    close = difflib.get_close_matches(name.lower().replace("_", "-"), folded, n=1, cutoff=0.55)
    return folded[close[0]] if close else None


def did_you_mean(name: str, names: Iterable[str]) -> str | None:
    """Return the hint that names the nearest valid name, or None when none is near."""
    near = nearest(name, names)
    return None if near is None else f'did you mean "{near}"?'
