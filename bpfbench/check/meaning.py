"""What a result must mean, beyond its shape. Every rule is a generator of problems over a ``View``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from bpfbench.check.problem import Problem
from bpfbench.check.relations import comparison_problems, operation_problems
from bpfbench.check.summaries import metric_problems
from bpfbench.resultview import Part, View

_SELECTED = (("arms", "arm"), ("cases", "case"))


def meaning(result: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield everything in a result of the right shape that cannot be true."""
    view = View(result)
    yield from _name_problems(view)
    yield from _completeness_problems(view)
    yield from _design_problems(view)
    for index, cell in enumerate(result["cells"]):
        yield from _cell_problems(view, cell, f"cells[{index}]")
    yield from _status_problems(view)
    yield from _selection_problems(view)
    yield from comparison_problems(view)
    yield from operation_problems(view)


def _name_problems(view: View) -> Iterator[Problem]:
    result = view.result
    for key in ("metrics", "groups", "cases", "arms"):
        for name in _repeated(part["name"] for part in result[key]):
            yield Problem(key, f"the name {name} is given twice")
    groups = {group["name"] for group in result["groups"]}
    for index, case in enumerate(result["cases"]):
        if case["group"] not in groups:
            yield Problem(f"cases[{index}].group", f"there is no group {case['group']}")
        floor = case["floor"]
        left_out = result["partial"] and floor not in view.cases  # its cost then is not stated per operation
        if floor is not None and not left_out and (floor not in view.cases or floor == case["name"]):
            yield Problem(f"cases[{index}].floor", f"{floor} is not another case")
    if result["baseline"] not in view.arms and not result["partial"]:
        yield Problem("baseline", f"there is no arm {result['baseline']}")
    primary = sum(metric["primary"] for metric in result["metrics"])
    if primary != 1:
        yield Problem("metrics", f"exactly one metric must be primary, not {primary}")


def _repeated(names: Iterable[Any]) -> list[Any]:
    return [name for name, count in Counter(names).items() if count > 1]


def _completeness_problems(view: View) -> Iterator[Problem]:
    for index, cell in enumerate(view.result["cells"]):
        for key, known in (("case", view.cases), ("arm", view.arms)):
            if cell[key] not in known:
                yield Problem(f"cells[{index}].{key}", f"there is no {key} {cell[key]}")
    for case, arm in _repeated((cell["case"], cell["arm"]) for cell in view.result["cells"]):
        yield Problem("cells", f"{case} × {arm} is there more than once")
    for case in view.cases:
        for arm in view.arms:
            if (case, arm) not in view.cells:
                yield Problem("cells", f"{case} × {arm} is missing")


def _design_problems(view: View) -> Iterator[Problem]:
    design, timing = view.result["design"], view.result["timing"]
    if design["least_blocks"] > design["most_blocks"]:
        yield Problem("design", "least_blocks is greater than most_blocks")
    try:
        if datetime.fromisoformat(timing["finished"]) < datetime.fromisoformat(timing["started"]):
            yield Problem("timing", "finished lies before started")
    except ValueError as error:
        yield Problem("timing", str(error))


def _cell_problems(view: View, cell: Part, path: str) -> Iterator[Problem]:
    where = _name(cell)
    if cell["status"] != "ok":
        if not (cell["reason"] or "").strip():
            yield Problem(f"{path}.reason", f"{where} is {cell['status']} without a reason")
        if cell["metrics"]:
            yield Problem(f"{path}.metrics", f"{where} is {cell['status']} and yet has values")
        return
    yield from _proof_problems(view, cell, path)
    yield from _stop_problems(view, cell, path)
    if view.primary is not None and view.primary["name"] not in cell["metrics"]:
        yield Problem(f"{path}.metrics", f"{where} is ok without the primary metric {view.primary['name']}")
    for name, summary in cell["metrics"].items():
        inside = f"{path}.metrics.{name}"
        if name not in view.metrics:
            yield Problem(inside, f"there is no metric {name}")
        else:
            yield from metric_problems(summary, view.metrics[name], view.result["design"], inside)


def _name(cell: Part) -> str:
    return f"{cell['case']} × {cell['arm']}"


def _proof_problems(view: View, cell: Part, path: str) -> Iterator[Problem]:
    proof = cell["proof"]
    if proof is None:
        if view.instruments(cell["arm"]):
            yield Problem(f"{path}.proof", f"{_name(cell)} is ok, but nothing proves that its program ran")
        return
    if proof["expected"] != proof["observed"]:
        expected, observed = proof["expected"], proof["observed"]
        yield Problem(f"{path}.proof", f"{proof['kind']}: expected {expected}, observed {observed}")
    if view.instruments(cell["arm"]) and proof["expected"] == 0:
        yield Problem(f"{path}.proof", f"{proof['kind']}: expecting nothing proves nothing")


def _stop_problems(view: View, cell: Part, path: str) -> Iterator[Problem]:
    reached, wanted = cell["half_width"], view.result["design"]["half_width"]
    if cell["stopped"] is None:
        yield Problem(f"{path}.stopped", "an ok cell says why its sampling stopped")
    if reached is None:
        yield Problem(f"{path}.half_width", "an ok cell says what half-width it reached")
    elif cell["stopped"] == "width" and reached > wanted * (1 + 1e-9):
        yield Problem(f"{path}.half_width", f"stopped for width at {reached:g}, wider than {wanted:g}")


def derived_status(statuses: Iterable[str]) -> str:
    """Return an arm's status from those of its cells: a failed one fails it, else an ok one makes it ok."""
    present = set(statuses)
    return next((status for status in ("failed", "ok", "unsupported") if status in present), "skipped")


def _status_problems(view: View) -> Iterator[Problem]:
    cells = view.result["cells"]
    for index, arm in enumerate(view.result["arms"]):
        path = f"arms[{index}]"
        follows = derived_status(cell["status"] for cell in cells if cell["arm"] == arm["name"])
        if arm["status"] != follows:
            said = f"{arm['name']} is said to be {arm['status']}"
            yield Problem(f"{path}.status", f"{said}, its cells make it {follows}")
        if arm["status"] != "ok" and not (arm["reason"] or "").strip():
            yield Problem(f"{path}.reason", f"{arm['name']} is {arm['status']} without a reason")
    failed = any(part["status"] == "failed" for part in [*cells, *view.result["arms"]])
    follows = "failed" if failed else "ok"
    if view.result["status"] != follows:
        yield Problem("status", f"said to be {view.result['status']}, cells and arms make it {follows}")


def _selection_problems(view: View) -> Iterator[Problem]:
    partial = view.result["partial"] or {"arms": None, "cases": None}
    for kind, known in (("arms", view.arms), ("cases", view.cases)):
        for name in partial[kind] or ():
            if name not in known:
                yield Problem(f"partial.{kind}", f"selects {name}, which is not there")
    for index, cell in enumerate(view.result["cells"]):
        selected = [partial[kind] is None or cell[key] in partial[kind] for kind, key in _SELECTED]
        status, path = cell["status"], f"cells[{index}].status"
        if all(selected) and status == "skipped":
            yield Problem(path, f"{_name(cell)} was asked for and is skipped")
        if not all(selected) and status in ("ok", "failed"):
            yield Problem(path, f"{_name(cell)} was not asked for and is {status}")
