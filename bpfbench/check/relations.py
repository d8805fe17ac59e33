"""Whether comparisons and costs of operations relate only what may be related, and leave nothing out."""

from __future__ import annotations

from collections.abc import Iterator

from bpfbench.check.problem import Problem
from bpfbench.check.summaries import interval_problems
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
        yield from sides
        if not sides:
            yield from _shared_problems(view, item, path)
        for name in ("ratio", "difference"):
            yield from interval_problems(item[name], item[f"{name}_ci"], f"{path}.{name}_ci", name)
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


def _shared_problems(view: View, item: Part, path: str) -> Iterator[Problem]:
    arm, against = (
        set(view.cells[item["case"], item[side]]["metrics"][item["metric"]]["blocks"])
        for side in ("arm", "against")
    )
    shared = len(arm & against)
    if item["n"] != shared:
        yield Problem(f"{path}.n", f"is {item['n']}, the arms share {shared} blocks")


def _verdict_problems(view: View, item: Part, path: str) -> Iterator[Problem]:
    metric = view.metrics.get(item["metric"])
    if metric is None:
        return
    low, high = item["ratio_ci"]
    lower, higher = high < 1, low > 1
    better, worse = (lower, higher) if metric["direction"] == "lower" else (higher, lower)
    bound = view.result["design"]["equivalence"]
    # Both readings of "within 1 ± bound" are let through: of the ratio, and of its logarithm.
    same = low >= 1 - bound - SLACK and high <= 1 / (1 - bound) + SLACK
    holds = {"better": better, "worse": worse, "same": same, "inconclusive": True}[item["verdict"]]
    if not holds:
        ratio = f"a ratio in [{low:g}, {high:g}]"
        yield Problem(f"{path}.verdict", f"{item['verdict']} does not follow from {ratio}")


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
        for part in (case, floor):
            if part is not None and not view.ok(part, arm):
                yield Problem(path, f"{part} × {arm} is not ok, so {case} has no cost of an operation")
        if unit is not None and item["unit"] != unit:
            yield Problem(f"{path}.unit", f"is {item['unit']}, the primary metric's is {unit}")
        yield from interval_problems(item["value"], item["ci"], f"{path}.ci", "value")
    yield from _missing_operations(view, seen)


def _missing_operations(view: View, seen: set[tuple[str, str]]) -> Iterator[Problem]:
    for name, case in view.cases.items():
        if case["floor"] is None:
            continue
        for arm in view.arms:
            measured = view.ok(name, arm) and view.ok(case["floor"], arm)
            if measured and view.instruments(arm) and (name, arm) not in seen:
                yield Problem("operations", f"{name} × {arm} is missing")
