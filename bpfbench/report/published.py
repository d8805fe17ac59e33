"""What others published, beside what was measured here: a reference, and no part of any comparison."""

from __future__ import annotations

from collections.abc import Iterable

from bpfbench.model.types import Published, PublishedValue
from bpfbench.report.numbers import fixed, plus_minus, unit_phrase
from bpfbench.report.tables import NOTHING, Entry, Row, Table, label_of
from bpfbench.resultview import Part, View

CAPTION = (
    "For reference only: other machines, other versions, other methods. ± is the published standard deviation, which is no interval; "
    "what was measured here (median, half of its interval) stands beside it where the case and the system are the same."
)


def published_table(result: Part, published: Iterable[Published]) -> Table | None:
    """Return the published numbers of a result's experiment, None where there are none."""
    view, notes, rows = View(result), list[str](), []
    for each in published:
        if each.experiment != result["experiment"]:
            continue
        notes.append(_source(each))
        group = f"{each.title}, {unit_phrase(each.unit, each.per)}"
        rows += [Row(group, _entries(view, each, value, len(notes))) for value in each.values]
    if not rows:
        return None
    columns = ("Case", "System", "Published", "n", "Here")
    return Table("published", "Published elsewhere", CAPTION, columns, (0, 1), tuple(rows), tuple(notes))


def _entries(view: View, each: Published, value: PublishedValue, note: int) -> tuple[Entry, ...]:
    case = view.cases.get(value.case) if value.case else None
    name = label_of(case) if case else value.what or value.case or ""
    return (
        Entry(name, "text"),
        Entry(value.system, "text", note),
        Entry(_told(value)),
        NOTHING if value.n is None else Entry(str(value.n)),
        _here(view, each, value),
    )


def _told(value: PublishedValue) -> str:
    """Return the number as it was published, with as many decimals."""
    decimals = len(f"{value.value!r}".partition(".")[2]) if not float(value.value).is_integer() else 0
    told = fixed(value.value, decimals)
    return told if value.sd is None else f"{told} ± {fixed(value.sd, max(decimals, 2))}"


def _here(view: View, each: Published, value: PublishedValue) -> Entry:
    """Return what was measured here of the same case on the first arm of the same runtime."""
    metric = view.primary
    arm = next((arm["name"] for arm in view.arms.values() if arm["runtime"] == value.runtime), None)
    if metric is None or arm is None or value.case is None or (metric["unit"], metric["per"]) != (each.unit, each.per):
        return NOTHING
    cell = view.cells.get((value.case, arm))
    if cell is None:
        return NOTHING
    if cell["status"] != "ok":
        return Entry(cell["status"], "status")
    summary = view.summary(value.case, arm, metric["name"])
    return Entry(plus_minus(summary["median"], summary["median_ci"])) if summary else NOTHING


def _source(each: Published) -> str:
    told = f"{each.title}: {each.source}; {each.machine}; {each.date}; {each.confidence}."
    return f"{told} {each.remark}" if each.remark else told
