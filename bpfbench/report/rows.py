"""Results for programs (flat objects) and for a terminal (aligned text). Imports nothing heavy."""

from __future__ import annotations

import textwrap
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bpfbench.report.numbers import counted, duration, plus_minus, unit_phrase
from bpfbench.resultview import Part, View

_COLOURS = {"ok": "32", "failed": "31", "unsupported": "33", "skipped": "2", "bold": "1", "dim": "2"}


def rows(result: Part) -> list[dict[str, Any]]:
    """Return one flat object per cell and metric.

    A cell that is not ok has one, for the primary metric, without figures. ``low`` and ``high``
    bound the interval of the median. Figures are in ``unit``. ``verification`` says who has
    verified the programs: ``unverified``: nobody; None: there were none, or the runtime does not say.
    """
    view = View(result)
    found = []
    for case in view.cases:
        for arm in view.arms:
            cell = view.cells[case, arm]
            measured = [metric for name, metric in view.metrics.items() if name in cell["metrics"]]
            missing = [view.primary] if view.primary else []
            found += [_row(result, cell, metric) for metric in measured or missing]
    return found


def _row(result: Part, cell: Part, metric: Part) -> dict[str, Any]:
    summary = cell["metrics"].get(metric["name"]) if cell["status"] == "ok" else None
    low, high = summary["median_ci"] if summary else (None, None)
    proof = cell["proof"]
    return {
        "experiment": result["experiment"],
        "case": cell["case"],
        "arm": cell["arm"],
        "status": cell["status"],
        "reason": cell["reason"],
        "metric": metric["name"],
        "unit": metric["unit"],
        "direction": metric["direction"],
        "n": summary["n"] if summary else 0,
        "mean": summary["mean"] if summary else None,
        "median": summary["median"] if summary else None,
        "low": low,
        "high": high,
        "proof": {"expected": proof["expected"], "observed": proof["observed"]} if proof else None,
        "engine": cell["engine"],
        "backend": cell["backend"],
        "profile": result["profile"],
        "verification": "; ".join(cell["evidence"].get("verification", ())) or None,
    }


Paint = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class _Line:
    """One case of a table: what it is called, its labels, and (text, style) for each arm."""

    title: str
    label: str
    cells: list[tuple[str, str]]

    @property
    def whole(self) -> str:
        return f"{self.title} ({self.label})" if self.label else self.title


def _coloured(text: str, style: str) -> str:
    return f"\x1b[{_COLOURS[style]}m{text}\x1b[0m"


def _plain(text: str, style: str) -> str:
    return text


def terminal_table(results: Iterable[Part], width: int, colour: bool) -> str:
    """Return every experiment's arms with status and reason, and its medians, in lines of ``width``."""
    paint = _coloured if colour else _plain
    parts = ["\n".join(_experiment(View(result), max(width, 40), paint)) for result in results]
    return "\n\n".join(parts) + "\n" if parts else "No results yet.\n"


def clean(text: str) -> str:
    """Return ``text`` in one line, without anything that a terminal would act on."""
    spaced = " ".join(text.split())
    return "".join(letter for letter in spaced if unicodedata.category(letter)[0] != "C")


def columns_of(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes."""
    wide = sum(unicodedata.east_asian_width(letter) in "WF" for letter in text)
    return len(text) + wide - sum(bool(unicodedata.combining(letter)) for letter in text)


def _experiment(view: View, width: int, paint: Paint) -> list[str]:
    result = view.result
    title = clean(result["title"])
    lines = textwrap.wrap(f"{clean(result['experiment'])}: {title}", width)
    lines = [paint(line, "bold") for line in lines]
    facts = [
        result["profile"] + (" (a selection only)" if result["partial"] else ""),
        counted(result["timing"]["blocks"], "block") + " in " + duration(result["timing"]["wall_s"]),
        f"machine {result['noise']['verdict']}",
    ]
    if result["overrides"]:
        facts.append("with local " + ", ".join(clean(name) for name in sorted(result["overrides"])))
    lines += [*textwrap.wrap(", ".join(facts), width), ""]
    lines += _arm_lines(view, width, paint)
    for inner in (False, True):
        lines += _block(view, width, paint, inner)
    return lines


def _arm_lines(view: View, width: int, paint: Paint) -> list[str]:
    lines = []
    indent = max((columns_of(clean(name)) for name in view.arms), default=0) + 2
    for name, arm in view.arms.items():
        cells = [view.cells[case, name] for case in view.cases]
        counts = Counter(cell["status"] for cell in cells)
        told = ", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status])
        head = _pad(clean(name), indent, left=True) + paint(f"{arm['status']:<13}", arm["status"])
        room = max(12, width - indent - 15)
        first, *more = textwrap.wrap(f"{told} of {counted(len(cells), 'case')}", room)
        lines += [f"  {head}{first}", *(" " * (indent + 15) + line for line in more)]
        bare = {f"unverified programs: {reason}": cases for reason, cases in unverified(cells).items()}
        for reason, cases in (reasons(cells) | bare).items():
            said = f"{', '.join(clean(case) for case in cases)}: {clean(reason)}"
            if len(cases) == len(cells):
                said = clean(reason)
            said = textwrap.shorten(said, 400, placeholder=" …")
            first, rest = " " * (indent + 2), " " * (indent + 4)
            lines += textwrap.wrap(said, width, initial_indent=first, subsequent_indent=rest)
    return lines


def reasons(cells: Iterable[Part]) -> dict[str, list[str]]:
    """Return why cells are not ok: reason → names of cases, in order."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        if cell["status"] != "ok":
            found.setdefault(cell["reason"] or cell["status"], []).append(cell["case"])
    return found


def unverified(cells: Iterable[Part]) -> dict[str, list[str]]:
    """Return why programs ran that no verifier has accepted: reason → names of cases, in order."""
    found: dict[str, list[str]] = {}
    for cell in cells:
        for reason in cell["evidence"].get("unverified_because", ()):
            found.setdefault(reason, []).append(cell["case"])
    return found


def _block(view: View, width: int, paint: Paint, inner: bool) -> list[str]:
    """Draw the cases that are stated per operation (``inner``), or the others."""
    metric, cases = view.primary, view.cases_of(inner=inner)
    if metric is None or not cases:
        return []
    arms = view.arms_of(inner=inner)
    unit = unit_phrase(metric["unit"], "operation" if inner else metric["per"])
    body = [
        _Line(
            clean(view.cases[case]["title"]),
            clean(", ".join(view.cases[case]["labels"])),
            [_cell_text(view, case, arm, inner) for arm in arms],
        )
        for case in cases
    ]
    return ["", *_grid(unit, [clean(arm) for arm in arms], body, width, paint)]


def _cell_text(view: View, case: str, arm: str, inner: bool) -> tuple[str, str]:
    """Return what stands in the table, and its style."""
    status = view.cells[case, arm]["status"]
    if status != "ok":
        return status, status
    if inner:
        item = view.operations.get((case, arm))
        estimate = (item["value"], item["ci"]) if item else None
    else:
        summary = view.summary(case, arm, view.primary["name"]) if view.primary else None
        estimate = (summary["median"], summary["median_ci"]) if summary else None
    return (plus_minus(*estimate, thousands=" "), "ok") if estimate else ("–", "dim")


def _pad(text: str, width: int, *, left: bool) -> str:
    space = " " * max(0, width - columns_of(text))
    return text + space if left else space + text


def _grid(unit: str, heads: Sequence[str], body: Sequence[_Line], width: int, paint: Paint) -> list[str]:
    """Align a table. Too wide: labels get lines of their own; still too wide: every figure gets one."""
    sizes = [
        max(columns_of(text) for text in [head, *(line.cells[index][0] for line in body)])
        for index, head in enumerate(heads)
    ]
    room = width - 2 - sum(3 + size for size in sizes)
    whole = [line.whole for line in body]
    for titles in (whole, [line.title for line in body]):
        first = max(columns_of(text) for text in [unit, *titles])
        if first <= room:
            break
    else:
        return _listing(unit, heads, body, paint)
    head = "".join("   " + _pad(text, size, left=False) for text, size in zip(heads, sizes, strict=True))
    lines = ["  " + paint(_pad(unit, first, left=True) + head, "bold")]
    for title, line in zip(titles, body, strict=True):
        text = "  " + _pad(title, first, left=True)
        for (figure, style), size in zip(line.cells, sizes, strict=True):
            text += "   " + _styled(_pad(figure, size, left=False), style, paint)
        lines.append(text.rstrip())
        if line.label and titles is not whole:
            lines.append("    " + paint(line.label, "dim"))
    return lines


def _styled(text: str, style: str, paint: Paint) -> str:
    return text if style == "ok" else paint(text, style)


def _listing(unit: str, heads: Sequence[str], body: Sequence[_Line], paint: Paint) -> list[str]:
    lines = ["  " + paint(unit, "bold")]
    size = max(columns_of(head) for head in heads)
    for line in body:
        lines.append(f"  {line.whole}")
        for head, (text, style) in zip(heads, line.cells, strict=True):
            lines.append(f"    {_pad(head, size, left=True)}  {_styled(text, style, paint)}")
    return lines
