"""Whether comparisons and costs of operations relate only what may be related, and leave nothing out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from bpfbench.check.problem import Problem
from bpfbench.check.summaries import derived_problems, interval_problems
from bpfbench.resultview import Part, View

SLACK = 1e-9


def comparison_problems(view: View) -> Iterator[Problem]:
    """Yield what is wrong with the comparisons, those that are missing included."""
    seen: set[tuple[str, str, str, str]] = set()
    for index, item in enumerate(view.result["comparisons"]):
        path = f"comparisons[{index}]"
        key = (item["case"], item["metric"], item["arm"], item["against"])
        if key in seen:
            yield Problem(path, "{} by {}: {} against {} is there twice".format(*key))
        seen.add(key)
        sides = list(_side_problems(view, item, path))
        yield from sides or _derived(view, item, path)
        yield from interval_problems(
            item["difference"], item["difference_ci"], f"{path}.difference_ci", "difference"
        )
        if (item["ratio"] is None) != (item["ratio_ci"] is None):
            yield Problem(f"{path}.ratio_ci", "a ratio and its interval are there together or not at all")
        elif item["ratio"] is not None:
            yield from interval_problems(item["ratio"], item["ratio_ci"], f"{path}.ratio_ci", "ratio")
            yield from _verdict_problems(view, item, path)
    yield from _missing_comparisons(view, seen)


def _side_problems(view: View, item: Part, path: str) -> Iterator[Problem]:
    if item["arm"] == item["against"]:
        yield Problem(path, f"compares {item['arm']} with itself")
    if item["metric"] not in view.metrics:
        yield Problem(f"{path}.metric", f"there is no metric {item['metric']}")
    for side in ("arm", "against"):
        where = f"{item['case']} × {item[side]}"
        cell = view.cells.get((item["case"], item[side]))
        if cell is None:
            yield Problem(f"{path}.{side}", f"there is no cell {where}")
        elif cell["status"] != "ok":
            yield Problem(f"{path}.{side}", f"{where} is {cell['status']} and stands in a comparison")
        elif item["metric"] not in cell["metrics"]:
            yield Problem(f"{path}.{side}", f"{where} has no {item['metric']}")


def _shared(
    view: View, one: tuple[str, str], other: tuple[str, str], metric: str
) -> list[tuple[float, float]]:
    """Return the values that two cells have from the same blocks."""
    a, b = (
        dict(zip(summary["blocks"], summary["values"], strict=False))
        for summary in (view.cells[one]["metrics"][metric], view.cells[other]["metrics"][metric])
    )
    return [(a[block], b[block]) for block in sorted(a.keys() & b.keys())]


def _derived(view: View, item: Part, path: str) -> Iterator[Problem]:
    """Yield what does not follow from the blocks: median ratio (on logarithms), median difference."""
    case = item["case"]
    pairs = _shared(view, (case, item["arm"]), (case, item["against"]), item["metric"])
    if item["n"] != len(pairs):
        yield Problem(f"{path}.n", f"is {item['n']}, the arms share {len(pairs)} blocks")
    if not pairs:
        return
    scale = max(max(abs(a), abs(b)) for a, b in pairs)
    difference = statistics.median(a - b for a, b in pairs)
    yield from derived_problems(item["difference"], difference, scale, f"{path}.difference")
    if all(a > 0 and b > 0 for a, b in pairs):
        if item["ratio"] is None:
            yield Problem(f"{path}.ratio", "is missing, though no value is zero")
        else:
            ratio = math.exp(statistics.median(math.log(a) - math.log(b) for a, b in pairs))
            yield from derived_problems(item["ratio"], ratio, ratio, f"{path}.ratio")


def _verdict_problems(view: View, item: Part, path: str) -> Iterator[Problem]:
    """Yield a problem unless the verdict is what the ratio's interval says; on an edge either will do."""
    metric = view.metrics.get(item["metric"])
    if metric is None:
        return
    low, high = item["ratio_ci"]
    lower = metric["direction"] == "lower"
    follows = set()
    for slack in (SLACK, -SLACK):
        bound = 1 + view.result["design"]["equivalence"] + slack
        if 1 / bound <= low and high <= bound:
            follows.add("same")
        elif high < 1 - slack or low > 1 + slack:
            follows.add("better" if (high < 1 - slack) == lower else "worse")
        else:
            follows.add("inconclusive")
    if item["verdict"] not in follows:
        expected = " or ".join(sorted(follows))
        text = f"{item['verdict']} does not follow from a ratio in [{low:g}, {high:g}], which is {expected}"
        yield Problem(f"{path}.verdict", text)


def _missing_comparisons(view: View, seen: set[tuple[str, str, str, str]]) -> Iterator[Problem]:
    if view.primary is None:
        return
    metric, baseline = view.primary["name"], view.result["baseline"]
    kernel = [name for name, arm in view.arms.items() if arm["where"] == "kernel"]
    userspace = [name for name, arm in view.arms.items() if arm["where"] == "userspace"]
    for case in view.cases:
        ok = {arm for arm in view.arms if view.ok(case, arm)}
        if baseline in ok:
            for arm in view.arms:
                if arm in ok and arm != baseline and (case, metric, arm, baseline) not in seen:
                    yield Problem("comparisons", f"{case}: {arm} against {baseline} is missing")
        for a in kernel:
            for b in userspace:
                # One of the two may be the baseline, and then the comparison stands the other way round.
                there = (case, metric, a, b) in seen or (case, metric, b, a) in seen
                if a in ok and b in ok and not there:
                    yield Problem("comparisons", f"{case}: {a} against {b} is missing")


def operation_problems(view: View) -> Iterator[Problem]:
    """Yield what is wrong with the costs of single operations, those that are missing included."""
    seen: set[tuple[str, str]] = set()
    unit = view.primary["unit"] if view.primary else None
    for index, item in enumerate(view.result["operations"]):
        path, case, arm = f"operations[{index}]", item["case"], item["arm"]
        if (case, arm) in seen:
            yield Problem(path, f"{case} × {arm} is there twice")
        seen.add((case, arm))
        floor = view.cases[case]["floor"] if case in view.cases else None
        if floor is None:
            yield Problem(f"{path}.case", f"{case} has no floor to take off")
        missing = [part for part in (case, floor) if part is not None and not view.ok(part, arm)]
        for part in missing:
            yield Problem(path, f"{part} × {arm} is not ok, so {case} has no cost of an operation")
        if floor is not None and not missing:
            yield from _derived_operation(view, item, floor, path)
        if unit is not None and item["unit"] != unit:
            yield Problem(f"{path}.unit", f"is {item['unit']}, the primary metric's is {unit}")
        yield from interval_problems(item["value"], item["ci"], f"{path}.ci", "value")
    yield from _missing_operations(view, seen)


def _derived_operation(view: View, item: Part, floor: str, path: str) -> Iterator[Problem]:
    case, arm = item["case"], item["arm"]
    name = view.primary["name"] if view.primary else ""
    if any(view.summary(part, arm, name) is None for part in (case, floor)):
        return
    pairs = _shared(view, (case, arm), (floor, arm), name)
    if not pairs:
        yield Problem(path, f"{case} and {floor} share no block on {arm}")
        return
    divisor = view.cases[case]["divisor"]
    value = statistics.median((a - b) / divisor for a, b in pairs)
    scale = max(max(abs(a), abs(b)) for a, b in pairs) / divisor
    yield from derived_problems(item["value"], value, scale, f"{path}.value")


def _missing_operations(view: View, seen: set[tuple[str, str]]) -> Iterator[Problem]:
    for name, case in view.cases.items():
        if case["floor"] is None:
            continue
        for arm in view.arms:
            measured = view.ok(name, arm) and view.ok(case["floor"], arm)
            if measured and view.instruments(arm) and (name, arm) not in seen:
                yield Problem("operations", f"{name} × {arm} is missing")
