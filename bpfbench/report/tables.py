"""Tables of a result as structure: what stands where. ``render`` writes them as Markdown or HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from bpfbench.report.numbers import (
    counted,
    decimals_in,
    fixed,
    percent,
    plus_minus,
    significant,
    span,
    symbol,
    unit_phrase,
)
from bpfbench.resultview import Part, View

Kind = Literal["text", "number", "status", "nothing"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands in one place.

    ``note`` is the number of a footnote, from 1; ``span`` how many columns it fills.
    """

    text: str
    kind: Kind = "number"
    note: int | None = None
    span: int = 1


@dataclass(frozen=True, slots=True)
class Row:
    """One line. Rows of the same ``group`` stand under one heading."""

    group: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; ``columns`` are its heads, and ``labels`` the indices of those that stand over text."""

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    labels: tuple[int, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Notes:
    """Collects footnotes; the same words get the same number."""

    texts: list[str] = field(default_factory=list)

    def number(self, text: str) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text) + 1


NOTHING = Entry("–", "nothing")


def tables(result: Part) -> list[Table]:
    """Return every table that the result has something for, the most telling first."""
    if View(result).counts:
        return [counts_table(result)]
    found = [summary_table(result), geometric_table(result), operations_table(result), comparisons_table(result)]
    return [
        *(table for table in found if table is not None),
        *(detailed_table(result, metric["name"]) for metric in result["metrics"]),
    ]


def label_of(case: Part) -> str:
    """Return the title of a case with its labels: ``array delete (refused delete)``."""
    return f"{case['title']} ({', '.join(case['labels'])})" if case["labels"] else str(case["title"])


@dataclass(frozen=True, slots=True)
class Relation:
    """``arm`` relative to ``against``; the interval stands beside each estimate."""

    ratio: tuple[float, Sequence[float]] | None
    difference: tuple[float, Sequence[float]]


def relation(view: View, case: str, metric: str, arm: str, against: str) -> Relation | None:
    """Return how two arms of a case compare, from their comparison, whichever way round it stands."""
    item = view.comparisons.get((case, metric, arm, against))
    if item is not None:
        ratio = None if item["ratio"] is None else (item["ratio"], item["ratio_ci"])
        return Relation(ratio, (item["difference"], item["difference_ci"]))
    item = view.comparisons.get((case, metric, against, arm))
    if item is None:
        return None
    dlow, dhigh = item["difference_ci"]
    difference = (-item["difference"], (-dhigh, -dlow))
    if item["ratio"] is None or item["ratio_ci"][0] <= 0:
        return Relation(None, difference)
    low, high = item["ratio_ci"]
    return Relation((1 / item["ratio"], (1 / high, 1 / low)), difference)


def _status_entry(cell: Part, notes: _Notes, span_: int = 1) -> Entry:
    status, reason = cell["status"], cell["reason"]
    return Entry(status, "status", notes.number(f"{status}: {reason}") if reason else None, span_)


def _median_entry(view: View, case: str, arm: str, metric: str, notes: _Notes) -> Entry:
    cell = view.cells[case, arm]
    if cell["status"] != "ok":
        return _status_entry(cell, notes)
    summary = view.summary(case, arm, metric)
    return Entry(plus_minus(summary["median"], summary["median_ci"])) if summary else NOTHING


def _pairs(view: View) -> tuple[list[tuple[str, str]], bool]:
    """Return the (dividend, divisor) of each ratio column, and whether they are speed-ups over the kernel."""
    kernel, userspace = view.arms_in("kernel"), view.arms_in("userspace")
    if kernel and userspace:
        lower = view.primary is None or view.primary["direction"] == "lower"
        return [(kernel[0], arm) if lower else (arm, kernel[0]) for arm in userspace], True
    baseline = view.result["baseline"]
    return [(arm, baseline) for arm in _others(view)], False


def _others(view: View) -> list[str]:
    """Return the arms that can be compared with the baseline: none if it was not selected."""
    baseline = view.result["baseline"]
    return [arm for arm in view.arms if arm != baseline] if baseline in view.arms else []


def summary_table(result: Part) -> Table | None:
    """Return medians, what each arm adds to the baseline, and speed-ups, of all cases stated as a whole."""
    view, notes = View(result), _Notes()
    metric, cases = view.primary, view.cases_of(inner=False)
    if metric is None or not cases:
        return None
    name, baseline = metric["name"], result["baseline"]
    others = _others(view)
    pairs, speedup = _pairs(view)
    rows = []
    for case in cases:
        entries = [Entry(label_of(view.cases[case]), "text")]
        entries += [_median_entry(view, case, arm, name, notes) for arm in view.arms]
        for arm in others:
            found = relation(view, case, name, arm, baseline)
            entries.append(Entry(plus_minus(*found.difference)) if found else NOTHING)
        for dividend, divisor in pairs:
            found = relation(view, case, name, dividend, divisor)
            entries.append(Entry(plus_minus(*found.ratio)) if found and found.ratio else NOTHING)
        rows.append(Row(_group_title(view, case), tuple(entries)))
    title = {arm: view.arms[arm]["title"] for arm in view.arms}
    word = "speed-up: " if speedup else ""
    columns = [
        "Case",
        *title.values(),
        *(f"{title[arm]} − {title[baseline]}" for arm in others),
        *(f"{word}{title[dividend]} ÷ {title[divisor]}" for dividend, divisor in pairs),
    ]
    unit = unit_phrase(metric["unit"], metric["per"])
    caption = f"Medians and differences in {unit}, ratios without a unit; {_plus_minus_means(result)}"
    return Table("summary", "Core summary", caption, tuple(columns), (0,), tuple(rows), tuple(notes.texts))


def counts_table(result: Part) -> Table:
    """Return the counts of a result that has nothing but these, and how many cases each arm passes."""
    view, notes = View(result), _Notes()
    name = view.primary["name"] if view.primary else ""
    rows = []
    for case in view.cases:
        entries = [Entry(label_of(view.cases[case]), "text")]
        rows.append(Row(_group_title(view, case), (*entries, *(_count_entry(view, case, arm, name, notes) for arm in view.arms))))
    passed = [sum(view.ok(case, arm) for case in view.cases) for arm in view.arms]
    rows.append(Row("Altogether", (Entry("cases passed", "text"), *(Entry(f"{count} of {len(view.cases)}") for count in passed))))
    title = f"{view.primary['title']}" if view.primary else "Counts"
    columns = ("Case", *(arm["title"] for arm in view.arms.values()))
    caption = "Each was counted several times, and was the same every time unless an interval stands beside it."
    return Table("summary", title[:1].upper() + title[1:], caption, columns, (0,), tuple(rows), tuple(notes.texts))


def _count_entry(view: View, case: str, arm: str, metric: str, notes: _Notes) -> Entry:
    summary = view.summary(case, arm, metric)
    if summary is None or summary["min"] != summary["max"]:
        return _median_entry(view, case, arm, metric, notes)
    return Entry(fixed(summary["median"], 0))


def _plus_minus_means(result: Part) -> str:
    return f"± is the larger half of the {percent(result['design']['confidence'])} interval."


def _group_title(view: View, case: str) -> str:
    group = view.groups.get(view.cases[case]["group"])
    return str(group["title"]) if group else ""


def geometric_table(result: Part) -> Table | None:
    """Return the geometric mean of each arm's ratios to the baseline, for results about executions; else None.

    The interval is Student's on the logarithms: how far the mean would move had other programs of this kind been chosen.
    """
    view = View(result)
    if view.primary is None or view.primary["per"] != "execution":
        return None
    from bpfbench.stats.compare import geometric_mean

    rows = []
    for arm in _others(view):
        found = [relation(view, case, view.primary["name"], arm, result["baseline"]) for case in view.cases]
        ratios = [one.ratio[0] for one in found if one and one.ratio]
        if not ratios:
            rows.append(Row("", (Entry(view.arms[arm]["title"], "text"), Entry("0"), NOTHING, NOTHING)))
            continue
        mean = geometric_mean(ratios)
        interval = NOTHING if mean.low is None or mean.high is None else Entry(span(mean.value, (mean.low, mean.high)))
        rows.append(Row("", (Entry(view.arms[arm]["title"], "text"), Entry(str(len(ratios))), Entry(significant(mean.value)), interval)))
    if not rows:
        return None
    baseline = view.arms[result["baseline"]]["title"]
    caption = (
        f"Geometric mean of the ratios to {baseline}, over the cases that both have. The interval says how far it would move with other "
        "programs of this kind; how well each case was measured stands in the comparisons."
    )
    columns = ("Arm", "Cases", f"Time ÷ {baseline}", "Interval")
    return Table("geometric", "Over all programs", caption, columns, (0,), tuple(rows), ())


def operations_table(result: Part) -> Table | None:
    """Return the costs of one inner operation, (case − floor) / divisor, or None where there are none."""
    view, notes = View(result), _Notes()
    metric, cases, arms = view.primary, view.cases_of(inner=True), view.arms_of(inner=True)
    if metric is None or not cases:
        return None
    rows = []
    for case in cases:
        entries = [Entry(label_of(view.cases[case]), "text")]
        entries += [_operation_entry(view, case, arm, notes) for arm in arms]
        rows.append(Row(_group_title(view, case), tuple(entries)))
    floors = sorted({view.cases[case]["floor"] for case in cases})
    divisors = sorted({view.cases[case]["divisor"] for case in cases})
    caption = (
        f"In {symbol(metric['unit'])} per operation: (case − {' or '.join(floors)}) / "
        f"{' or '.join(str(divisor) for divisor in divisors)}, by block; {_plus_minus_means(result)}"
    )
    columns = ("Operation", *(view.arms[arm]["title"] for arm in arms))
    return Table(
        "operations", "Cost of one operation", caption, columns, (0,), tuple(rows), tuple(notes.texts)
    )


def _operation_entry(view: View, case: str, arm: str, notes: _Notes) -> Entry:
    cell = view.cells[case, arm]
    if cell["status"] != "ok":
        return _status_entry(cell, notes)
    item = view.operations.get((case, arm))
    if item is not None:
        return Entry(plus_minus(item["value"], item["ci"]))
    floor = view.cases[case]["floor"]
    if view.ok(floor, arm):
        return NOTHING
    status = view.cells[floor, arm]["status"] if (floor, arm) in view.cells else "not selected"
    return Entry("–", "nothing", notes.number(f"no floor: {floor} is {status}"))


def comparisons_table(result: Part) -> Table | None:
    """Return every comparison by the primary metric with its verdict, or None where nothing was compared."""
    view = View(result)
    metric = view.primary
    rows = []
    for case in view.cases:
        for item in result["comparisons"]:
            if metric is None or item["case"] != case or item["metric"] != metric["name"]:
                continue
            rows.append(Row(_group_title(view, case), _comparison_entries(view, item)))
    if metric is None or not rows:
        return None
    design = result["design"]
    caption = (
        f"By block, with {percent(design['confidence'])} intervals; differences in "
        f"{unit_phrase(metric['unit'], metric['per'])}. "
        f"Within ± {percent(design['equivalence'])} counts as the same."
    )
    columns = ("Case", "Arms", "n", "Ratio", "Interval", "Difference", "Verdict")
    return Table("comparisons", "Comparisons", caption, columns, (0, 1, 6), tuple(rows), ())


def _comparison_entries(view: View, item: Part) -> tuple[Entry, ...]:
    arm, against = (view.arms[item[side]]["title"] for side in ("arm", "against"))
    ratio = item["ratio"]
    return (
        Entry(label_of(view.cases[item["case"]]), "text"),
        Entry(f"{arm} against {against}", "text"),
        Entry(str(item["n"])),
        NOTHING if ratio is None else Entry(plus_minus(ratio, item["ratio_ci"])),
        NOTHING if ratio is None else Entry(span(ratio, item["ratio_ci"])),
        Entry(plus_minus(item["difference"], item["difference_ci"])),
        Entry(item["verdict"], "text"),
    )


def detailed_table(result: Part, metric_name: str) -> Table:
    """Return minimum, maximum, mean, standard deviation, n, median and its interval of one metric."""
    view, notes = View(result), _Notes()
    metric = view.metrics[metric_name]
    rows = []
    for case in view.cases:
        for arm in view.arms:
            cell = view.cells[case, arm]
            entries = [Entry(label_of(view.cases[case]), "text"), Entry(view.arms[arm]["title"], "text")]
            summary = view.summary(case, arm, metric_name)
            if cell["status"] != "ok":
                entries.append(_status_entry(cell, notes, 7))
            elif summary is None:
                entries.append(Entry("–", "nothing", None, 7))
            else:
                entries += _detail_entries(summary)
            rows.append(Row(_group_title(view, case), tuple(entries)))
    unit = unit_phrase(metric["unit"], metric["per"])
    measured = [cell["metrics"].get(metric_name) for cell in result["cells"]]
    flagged = sum(len(summary["outliers"]) for summary in measured if summary)
    caption = (
        f"In {unit}; SD is the sample standard deviation; the interval is the median's, "
        f"{percent(result['design']['confidence'])}. {counted(flagged, 'outlier')} flagged, none dropped."
    )
    columns = ("Case", "Arm", "Min", "Max", "Mean", "SD", "n", "Median", "Interval")
    title = f"Detailed comparison: {metric['title']}"
    return Table(f"detail-{metric_name}", title, caption, columns, (0, 1), tuple(rows), tuple(notes.texts))


def _detail_entries(summary: Part) -> list[Entry]:
    decimals = decimals_in(summary["median"], summary["median_ci"])
    figures = [fixed(summary[name], decimals) for name in ("min", "max", "mean")]
    figures += [significant(summary["sd"], 2), str(summary["n"]), fixed(summary["median"], decimals)]
    figures.append(span(summary["median"], summary["median_ci"]))
    return [Entry(figure) for figure in figures]
