"""Every rule of the check is broken once, in an otherwise valid result, and must be found."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfbench.check.check import check_result
from bpfbench.errors import BenchError

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "schemas"


@pytest.fixture(scope="module")
def valid(make):
    return make()


def cell_of(result, case, arm):
    return next(c for c in result["cells"] if (c["case"], c["arm"]) == (case, arm))


def time_of(result, case="uprobe", arm="kernel"):
    return cell_of(result, case, arm)["metrics"]["time"]


def comparison_of(result, case="uprobe", arm="kernel", against="native"):
    return next(
        c for c in result["comparisons"] if (c["case"], c["arm"], c["against"]) == (case, arm, against)
    )


def without(items, **fields):
    return [item for item in items if any(item[key] != value for key, value in fields.items())]


def test_schema_itself_is_valid():
    jsonschema.Draft202012Validator.check_schema(json.loads((SCHEMAS / "result.json").read_text()))


def test_every_object_of_the_schema_is_closed_or_free_on_purpose():
    free = set()

    def walk(node, path):
        if isinstance(node, dict):
            if node.get("type") == "object" and "additionalProperties" not in node:
                free.add(path)
            for key, value in node.items():
                walk(value, f"{path}/{key}")
        elif isinstance(node, list):
            for index, value in enumerate(node):
                walk(value, f"{path}/{index}")

    walk(json.loads((SCHEMAS / "result.json").read_text()), "")
    names = {path.rsplit("/", 1)[1] for path in free}
    assert names == {"about", "components", "environment", "params", "evidence"}


@pytest.mark.parametrize("arms", [("native",), ("native", "kernel"), ("native", "kernel", "embedded")])
@pytest.mark.parametrize("broken", [True, False])
def test_valid_results_have_no_problem(make, arms, broken):
    assert check_result(make(arms, broken=broken), SCHEMAS) == []


def test_missing_schema_is_a_clear_error(valid, tmp_path):
    with pytest.raises(BenchError, match=r"result\.json"):
        check_result(valid, tmp_path)


def _set(*path_and_value):
    *path, value = path_and_value

    def change(result):
        target = result
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = value

    return change


SHAPE = {
    "another version": (_set("schema", "bpfbench-result/2"), "schema"),
    "unknown field": (_set("surprise", 1), ""),
    "missing field": (lambda r: r.pop("noise"), ""),
    "unknown field of a cell": (_set("cells", 0, "note", "x"), "cells[0]"),
    "unknown status": (_set("cells", 0, "status", "excellent"), "cells[0].status"),
    "unknown verdict": (_set("comparisons", 0, "verdict", "great"), "comparisons[0].verdict"),
    "unknown unit": (_set("metrics", 0, "unit", "parsecs"), "metrics[0].unit"),
    "not a number": (lambda r: time_of(r).update(mean="12"), "cells[4].metrics.time.mean"),
    "an interval of three": (
        lambda r: time_of(r).update(median_ci=[1, 2, 3]),
        "cells[4].metrics.time.median_ci",
    ),
    "NaN": (lambda r: time_of(r).update(sd=float("nan")), "cells[4].metrics.time.sd"),
    "infinity": (lambda r: time_of(r)["values"].append(float("inf")), "cells[4].metrics.time.values"),
    "a colour by name": (_set("arms", 0, "colour", "red"), "arms[0].colour"),
    "local time": (_set("timing", "started", "2024-06-11 10:00"), "timing.started"),
}


@pytest.mark.parametrize("name", SHAPE)
def test_broken_shape_is_found(valid, name):
    change, path = SHAPE[name]
    result = copy.deepcopy(valid)
    change(result)
    problems = check_result(result, SCHEMAS)
    assert any(problem.path.startswith(path) for problem in problems), problems


def drop_cell(result):
    result["cells"] = without(result["cells"], case="empty", arm="native")


def double_cell(result):
    result["cells"].append(copy.deepcopy(result["cells"][0]))


def shift_values(unit_factor):
    def change(result):
        summary = time_of(result, arm="native")
        for key in ("mean", "sd", "median", "mad", "min", "max", "p5", "p95"):
            summary[key] *= unit_factor
        for key in ("median_ci", "mean_ci", "values"):
            summary[key] = [value * unit_factor for value in summary[key]]

    return change


def truncate(result):
    summary = time_of(result)
    summary["values"], summary["blocks"] = summary["values"][:5], summary["blocks"][:5]
    summary["n"] = 5


def prolong(result):
    summary = time_of(result)
    summary["values"] = summary["values"] * 5
    summary["blocks"] = list(range(len(summary["values"])))
    summary["n"] = len(summary["values"])


def compare_unsupported(result):
    pair = copy.deepcopy(comparison_of(result))
    pair["case"] = "write"
    result["comparisons"].append(pair)


def operation_of_unsupported(result):
    item = copy.deepcopy(result["operations"][0])
    item.update(case="write", arm="kernel")
    result["operations"].append(item)


def operation_without_floor(result):
    item = copy.deepcopy(result["operations"][0])
    item.update(case="uprobe")
    result["operations"].append(item)


def metric_nobody_declared(result):
    cell = cell_of(result, "uprobe", "kernel")
    cell["metrics"]["luck"] = copy.deepcopy(cell["metrics"]["time"])


def unprimary(result):
    result["metrics"][0]["primary"] = False


def fail_arm(result):
    result["arms"][0].update(status="failed", reason="because")


def proof_of(result, **fields):
    cell_of(result, "uprobe", "kernel")["proof"].update(fields)


def fake_native_proof(result):
    cell_of(result, "uprobe", "native")["proof"] = {"kind": "calls", "expected": 10, "observed": 9}


def set_cell(case, arm, **fields):
    return lambda result: cell_of(result, case, arm).update(fields)


def set_time(**fields):
    return lambda result: time_of(result).update(fields)


def set_comparison(**fields):
    return lambda result: comparison_of(result).update(fields)


MEANING = {
    # names
    "two arms of one name": (lambda r: r["arms"].append(dict(r["arms"][0])), "arms", "twice"),
    "two cases of one name": (lambda r: r["cases"].append(dict(r["cases"][0])), "cases", "twice"),
    "group that is not there": (_set("cases", 0, "group", "nowhere"), "cases[0].group", "no group"),
    "floor that is not there": (_set("cases", 4, "floor", "nothing"), "cases[4].floor", "not another case"),
    "a case as its own floor": (_set("cases", 4, "floor", "read"), "cases[4].floor", "not another case"),
    "baseline that is not there": (_set("baseline", "nobody"), "baseline", "no arm"),
    "no primary metric": (unprimary, "metrics", "exactly one"),
    "blocks the wrong way round": (_set("design", "least_blocks", 41), "design", "greater"),
    "finished before started": (_set("timing", "finished", "2024-06-11T09:00:00Z"), "timing", "before"),
    "no such day": (_set("timing", "finished", "2024-13-11T09:00:00Z"), "timing", ""),
    # completeness
    "missing cell": (drop_cell, "cells", "missing"),
    "cell twice": (double_cell, "cells", "more than once"),
    "cell of no case": (_set("cells", 0, "case", "nothing"), "cells[0].case", "no case"),
    "cell of no arm": (_set("cells", 0, "arm", "nobody"), "cells[0].arm", "no arm"),
    # proofs
    "no proof": (set_cell("uprobe", "kernel", proof=None), "cells[4].proof", "nothing proves"),
    "probe fired less often": (lambda r: proof_of(r, observed=1), "cells[4].proof", "observed 1"),
    "nothing expected": (lambda r: proof_of(r, expected=0, observed=0), "cells[4].proof", "proves nothing"),
    "wrong proof on the native arm": (fake_native_proof, "cells[3].proof", "observed 9"),
    # stop
    "why it stopped": (set_cell("uprobe", "kernel", stopped=None), "cells[4].stopped", "why"),
    "no half-width": (set_cell("uprobe", "kernel", half_width=None), "cells[4].half_width", "half-width"),
    "not narrow": (
        set_cell("uprobe", "kernel", stopped="width", half_width=0.2),
        "cells[4].half_width",
        "wider",
    ),
    # samples
    "too few values": (truncate, "cells[4].metrics.time.values", "fewer"),
    "too many values": (prolong, "cells[4].metrics.time.values", "more than"),
    "n of its own": (set_time(n=99), "cells[4].metrics.time.n", "n is 99"),
    "a block is lost": (lambda r: time_of(r)["blocks"].pop(), "cells[4].metrics.time.n", "blocks"),
    "blocks in disorder": (lambda r: time_of(r)["blocks"].reverse(), "cells[4].metrics.time.blocks", "order"),
    "outlier out of range": (set_time(outliers=[99]), "cells[4].metrics.time.outliers", "no value 99"),
    "a call for nothing": (shift_values(0.1), "cells[3].metrics.time.values", "nothing was called"),
    "a value of zero": (shift_values(0.0), "cells[3].metrics.time.values", "cannot have been"),
    "a negative value": (
        lambda r: time_of(r, arm="native")["values"].append(-1.0),
        "cells[3].metrics.time.values",
        "cannot have been",
    ),
    "an hour": (shift_values(1e13), "cells[3].metrics.time.values", "hour"),
    "metric nobody declared": (metric_nobody_declared, "cells[4].metrics.luck", "no metric"),
    "no primary value": (set_cell("uprobe", "kernel", metrics={}), "cells[4].metrics", "without the primary"),
    # figures that do not follow
    **{
        f"{name} of its own": (set_time(**{name: 1000.0}), f"cells[4].metrics.time.{name}", "values give")
        for name in ("mean", "sd", "median", "mad", "min", "max", "p5", "p95")
    },
    "interval beside its median": (
        set_time(median_ci=[1.0, 2.0]),
        "cells[4].metrics.time.median_ci",
        "contain",
    ),
    "interval beside its mean": (set_time(mean_ci=[1.0, 2.0]), "cells[4].metrics.time.mean_ci", "contain"),
    "interval turned round": (
        set_time(median_ci=[870.0, 850.0]),
        "cells[4].metrics.time.median_ci",
        "way round",
    ),
    "interval beyond the data": (set_time(median_ci=[1.0, 1e6]), "cells[4].metrics.time.median_ci", "beyond"),
    # status
    "no reason": (set_cell("write", "kernel", reason=" "), "cells[16].reason", "without a reason"),
    "unsupported with a value": (
        lambda r: cell_of(r, "write", "kernel").update(
            metrics=copy.deepcopy(cell_of(r, "read", "kernel")["metrics"])
        ),
        "cells[16].metrics",
        "yet has values",
    ),
    "failure swept under the carpet": (_set("status", "ok"), "status", "make it failed"),
    "failed arm said to be ok": (_set("arms", 2, "status", "ok"), "arms[2].status", "make it failed"),
    "failed arm without a reason": (_set("arms", 2, "reason", None), "arms[2].reason", "without a reason"),
    "arm failed without a failed case": (fail_arm, "arms[0].status", "make it ok"),
    # selection
    "skipped in a full run": (
        set_cell("write", "kernel", status="skipped"),
        "cells[16].status",
        "asked for and is skipped",
    ),
    "measured though not selected": (
        _set("partial", {"arms": ["native"], "cases": None}),
        "cells[1].status",
        "not asked for",
    ),
    "selection of nothing": (
        _set("partial", {"arms": ["nobody"], "cases": None}),
        "partial.arms",
        "not there",
    ),
    # comparisons
    "unsupported in a comparison": (compare_unsupported, "comparisons[", "is unsupported and stands"),
    "comparison twice": (
        lambda r: r["comparisons"].append(dict(r["comparisons"][0])),
        "comparisons[",
        "twice",
    ),
    "comparison with itself": (set_comparison(against="kernel"), "comparisons[", "itself"),
    "comparison of no cell": (set_comparison(case="nothing"), "comparisons[", "no cell"),
    "comparison by no metric": (set_comparison(metric="luck"), "comparisons[", "no metric"),
    "missing comparison with the baseline": (
        lambda r: r["comparisons"].remove(comparison_of(r)),
        "comparisons",
        "uprobe: kernel against native is missing",
    ),
    "missing comparison of kernel and userspace": (
        lambda r: r["comparisons"].remove(comparison_of(r, arm="embedded", against="kernel")),
        "comparisons",
        "uprobe: kernel against embedded is missing",
    ),
    "n of a comparison": (set_comparison(n=2), "comparisons[", "blocks"),
    "verdict overlooked": (set_comparison(verdict="inconclusive"), "comparisons[", "which is worse"),
    "ratio of its own": (set_comparison(ratio=565.0), "comparisons[", "values give"),
    "difference of its own": (
        lambda r: comparison_of(r).update(difference=comparison_of(r)["difference"] * 1.001),
        "comparisons[",
        "values give",
    ),
    "ratio left out": (set_comparison(ratio=None, ratio_ci=None), "comparisons[", "though no value"),
    "ratio without interval": (set_comparison(ratio_ci=None), "comparisons[", "together"),
    "ratio beside its interval": (set_comparison(ratio=1.0), "comparisons[", "contain"),
    "difference beside its interval": (set_comparison(difference=-1.0), "comparisons[", "contain"),
    **{
        f"{verdict} without cause": (set_comparison(verdict=verdict), "comparisons[", "does not follow")
        for verdict in ("better", "same")
    },
    "worse without cause": (
        set_comparison(ratio=0.5, ratio_ci=[0.4, 0.6], verdict="worse"),
        "comparisons[",
        "does not follow",
    ),
    # operations
    "operation without a floor": (operation_without_floor, "operations[", "no floor"),
    "operation of an unsupported case": (operation_of_unsupported, "operations[", "not ok"),
    "operation twice": (lambda r: r["operations"].append(dict(r["operations"][0])), "operations[", "twice"),
    "operation in another unit": (_set("operations", 0, "unit", "ms"), "operations[0].unit", "primary"),
    "operation beside its interval": (_set("operations", 0, "value", 1e6), "operations[0].ci", "contain"),
    "operation of its own": (
        lambda r: r["operations"][0].update(value=r["operations"][0]["value"] * 1.001),
        "operations[0].value",
        "give",
    ),
    "missing operation": (lambda r: r["operations"].pop(0), "operations", "missing"),
}


@pytest.mark.parametrize("name", MEANING)
def test_broken_meaning_is_found(valid, name):
    change, path, words = MEANING[name]
    result = copy.deepcopy(valid)
    change(result)
    problems = check_result(result, SCHEMAS)
    assert any(p.path.startswith(path) and words in p.message for p in problems), problems


def test_higher_is_better_turns_the_verdict_round(valid):
    result = copy.deepcopy(valid)
    result["metrics"][0]["direction"] = "higher"
    problems = check_result(result, SCHEMAS)
    decided = [pair for pair in result["comparisons"] if pair["verdict"] in ("better", "worse")]
    assert len(problems) == len(decided) > 50
    assert all("does not follow" in problem.message for problem in problems)


def keep(result, arms, cases):
    """Cut a result down to a selection, as a run of that selection gives it."""
    result["partial"] = {"arms": arms, "cases": cases}
    result["arms"] = [arm for arm in result["arms"] if arm["name"] in arms]
    result["cases"] = [case for case in result["cases"] if case["name"] in cases]
    for key in ("cells", "comparisons", "operations"):
        result[key] = [item for item in result[key] if item["arm"] in arms and item["case"] in cases]
    result["comparisons"] = [item for item in result["comparisons"] if item["against"] in arms]
    return result


@pytest.mark.parametrize("arms", [["kernel"], ["native", "kernel"]])
def test_a_selection_without_baseline_or_floor_is_valid(make, arms):
    result = keep(make(("native", "kernel"), broken=False), arms, ["read", "array-update"])
    result["operations"] = []
    assert check_result(result, SCHEMAS) == []
    result["partial"] = None
    assert any("not another case" in problem.message for problem in check_result(result, SCHEMAS))


def test_a_whole_partial_run_is_valid(make):
    result = make(("native", "kernel"), broken=False)
    result["partial"] = {"arms": ["native"], "cases": None}
    for cell in result["cells"]:
        if cell["arm"] == "kernel":
            cell.update(status="skipped", reason="not selected", metrics={}, proof=None, stopped=None)
    result["arms"][1].update(status="skipped", reason="not selected")
    result["comparisons"] = result["operations"] = []
    assert check_result(result, SCHEMAS) == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_no_damage_makes_the_check_itself_fall_over(valid, data):
    result = copy.deepcopy(valid)
    target, key = result, data.draw(st.sampled_from(sorted(result)))
    for _ in range(data.draw(st.integers(0, 6))):
        inner = target[key]
        if not isinstance(inner, (dict, list)) or not inner:
            break
        target = inner
        key = data.draw(st.sampled_from(sorted(inner) if isinstance(inner, dict) else range(len(inner))))
    target[key] = data.draw(ANYTHING)
    assert isinstance(check_result(result, SCHEMAS), list)
