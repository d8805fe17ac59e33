"""From journals of every shape to results that the check accepts."""

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpfbench.check.check import check_result
from bpfbench.measure.fingerprint import Fingerprint
from bpfbench.measure.fold import fold
from bpfbench.measure.noise import Noise
from bpfbench.measure.request import Output, Request
from bpfbench.measure.result import result_of
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
HERE = Location("specs/x.yaml", 1, 1)
KEY = "0" * 32 + "-measure-x"
RUNTIMES = {
    "native": Runtime("native", "native", "none", "#777777", HERE),
    "kernel": Runtime("kernel", "kernel", "kernel", "#0072b2", HERE, engine="kernel-jit", backend="kernel-uprobe"),
    "embedded": Runtime("embedded", "embedded", "userspace", "#d55e00", HERE, engine="embedded-jit", backend="hook"),
}
METRICS = (
    Metric("time", "time per call", "ns", "call", "lower", primary=True),
    Metric("time_mean", "mean time per call", "ns", "call", "lower"),
)
CASES = (Case("uprobe", "uprobe", "g"), Case("read", "read", "g", divisor=1000, floor="uprobe"))
PROFILE = Profile("quick", "quick", 7, 20, 1, 0.03, 0.05, 60.0, 0.02, ("svg",))


def request(arms=("native", "kernel", "embedded"), **words):
    all_arms = tuple(Arm(name, name, f"the {name} arm") for name in RUNTIMES)
    experiment = Experiment(
        "x", "An experiment", "What it is.", "probe_pair", "native", ("uprobe",), all_arms, (Group("g", "Group"),), CASES,
        METRICS, HERE,
    )  # fmt: skip
    machine = Fingerprint("cpu-2c-0123abcd", "0123abcd" * 8, {"cpu": "test"})
    output = Output("1" * 32 + "-uprobe", Path("/nowhere"), "sha256-" + "A" * 43 + "=")
    chosen = None if set(arms) == set(RUNTIMES) else tuple(arms)
    return Request(experiment, RUNTIMES, PROFILE, {"uprobe": output}, machine, arms=chosen, **words)


def begin():
    return {
        "kind": "begin", "format": 1, "run_key": KEY, "boot_id": "b" * 8 + "-1111-2222-3333-" + "c" * 12, "seed": 5,
        "started": 1_700_000_000.0,
        "environment": {
            "before": {"verdict": "quiet", "warnings": []}, "placement": {"measured_cpus": [1], "other_cpus": [0]},
        },
        "inputs": {"uprobe": {"item": "1" * 32 + "-uprobe", "hash": "sha256-" + "A" * 43 + "="}},
    }  # fmt: skip


def record(cell, block, status, rng):
    """Return one sample (a pilot in the warm-up) of a cell, good or with the status given."""
    good = status == "ok"
    runtime = RUNTIMES[cell.arm.runtime]
    base = {"none": 2.0, "kernel": 900.0, "userspace": 20.0}[runtime.where] * (30 if cell.case.floor else 1)
    value = base * (1 + 0.02 * rng.random())
    kind = "untouched-text" if runtime.where == "none" else "hits"
    expected = 0 if runtime.where == "none" else 70
    return {
        "kind": "pilot" if block <= 0 else "sample", "block": block, "case": cell.case.name, "arm": cell.arm.name,
        "wall": 0.1, "noise": Noise().as_json() | {"calm": 0.75} if block % 2 else {}, "plan": {"calls": 7}, "status": status,
        "reason": None if good else f"it is {status}",
        "metrics": {"time": value, "time_mean": value * 1.01} if good else {},
        "proof": {"kind": kind, "expected": expected, "observed": expected} if good else None,
        "engine": runtime.engine, "backend": runtime.backend,
        "evidence": {"first_instruction": "push", "first_bytes": "55"} if good else {},
    }  # fmt: skip


def journal(asked, blocks, bad=None, torn=False, resumed=0, seed=1):
    """Return the records of a run: ``bad`` maps a cell's id to (block, status) from which on it is not ok."""
    rng, bad = random.Random(seed), dict(bad or {})
    records, gone = [begin()], set()
    for block in range(blocks + 1):
        for cell in asked.cells():
            if cell.id in gone:
                continue
            at, status = bad.get(cell.id, (None, None))
            records.append(record(cell, block, status if at == block else "ok", rng))
            if at == block:
                gone.add(cell.id)
        stopped = [(*cell.id, "width") for cell in asked.cells() if cell.id not in gone] if block == blocks else []
        records.append({"kind": "block", "block": block, "stopped": stopped})
        if block < resumed:
            records += [record(asked.cells()[0], block + 1, "ok", rng), {"kind": "resume", "at": 1.0}]
    if not torn:
        records.append({"kind": "end", "blocks": blocks, "wall_clock": 1_700_000_060.0})
    return records


def result(asked, records):
    found = result_of(asked, KEY, fold(records))
    assert check_result(found, SCHEMAS) == []
    return found


def cell_of(found, case, arm):
    return next(cell for cell in found["cells"] if (cell["case"], cell["arm"]) == (case, arm))


statuses = st.sampled_from(["failed", "unsupported"])
cells = st.tuples(st.sampled_from(["uprobe", "read"]), st.sampled_from(list(RUNTIMES)))


@settings(max_examples=40)
@given(
    arms=st.sets(st.sampled_from(list(RUNTIMES)), min_size=1).map(lambda names: tuple(n for n in RUNTIMES if n in names)),
    blocks=st.integers(7, 9), resumed=st.integers(0, 2), seed=st.integers(0, 999),
    bad=st.dictionaries(cells, st.tuples(st.integers(0, 8), statuses), max_size=6),
)  # fmt: skip
def test_whatever_happens_in_a_run_its_result_holds(arms, blocks, resumed, seed, bad):
    asked = request(arms)
    found = result(asked, journal(asked, blocks, bad, resumed=resumed, seed=seed))
    for cell in found["cells"]:
        at, status = bad.get((cell["case"], cell["arm"]), (99, "ok"))
        assert cell["status"] == (status if at <= blocks else "ok")
        assert bool(cell["metrics"]) == (cell["status"] == "ok")
    assert found["status"] == ("failed" if any(cell["status"] == "failed" for cell in found["cells"]) else "ok")
    assert found["timing"]["resumed"] == resumed
    shown = {(item["case"], name) for item in found["comparisons"] for name in (item["arm"], item["against"])}
    assert all(cell_of(found, *id)["status"] == "ok" for id in shown)


def test_every_arm_is_compared_with_the_baseline_and_userspace_with_the_kernel():
    asked = request()
    found = result(asked, journal(asked, 8))
    pairs = {(item["arm"], item["against"]) for item in found["comparisons"]}
    assert pairs == {("kernel", "native"), ("embedded", "native"), ("embedded", "kernel")}
    assert all(item["n"] == 8 for item in found["comparisons"])


def test_without_the_baseline_nothing_is_compared_with_it():
    asked = request(("kernel", "embedded"))
    found = result(asked, journal(asked, 8))
    assert {(item["arm"], item["against"]) for item in found["comparisons"]} == {("embedded", "kernel")}
    assert found["partial"] == {"arms": ["kernel", "embedded"], "cases": ["uprobe", "read"]}


def test_the_cost_of_an_operation_is_what_is_above_the_floor():
    asked = request()
    found = result(asked, journal(asked, 8))
    costs = {item["arm"]: item["value"] for item in found["operations"]}
    assert set(costs) == {"kernel", "embedded"}, "where nothing is hooked there is no operation"
    assert costs["kernel"] == pytest.approx(900 * 29 / 1000, rel=0.05)


def test_a_floor_that_was_not_asked_for_gives_no_costs():
    asked = request(cases=("read",))
    assert result(asked, journal(asked, 8))["operations"] == []


def test_an_arm_s_status_is_the_worst_failure_or_else_what_it_could():
    asked = request()
    bad = {("uprobe", "kernel"): (3, "failed"), ("uprobe", "embedded"): (0, "unsupported")}
    arms = {arm["name"]: arm for arm in result(asked, journal(asked, 8, bad))["arms"]}
    assert (arms["kernel"]["status"], arms["kernel"]["reason"]) == ("failed", "it is failed")
    assert arms["embedded"]["status"] == "ok"
    bad[("read", "embedded")] = (0, "unsupported")
    arms = {arm["name"]: arm for arm in result(asked, journal(asked, 8, bad))["arms"]}
    assert arms["embedded"]["status"] == "unsupported"


def test_a_cell_that_never_got_a_sample_failed_and_says_so():
    asked = request()
    records = [begin(), {"kind": "end", "blocks": 0, "wall_clock": 1_700_000_001.0}]
    found = result(asked, records)
    assert {cell["reason"] for cell in found["cells"]} == {"no sample was taken"}
    assert found["status"] == "failed"


def test_a_run_that_a_kill_ended_counts_finished_blocks_only():
    asked = request()
    records = journal(asked, 8, torn=True)
    extra = record(asked.cells()[0], 9, "ok", random.Random(1))
    found = result(asked, [*records, extra])
    assert {cell["metrics"]["time"]["n"] for cell in found["cells"]} == {8}


def test_what_samples_know_of_their_core_is_in_the_result():
    asked = request()
    assert result(asked, journal(asked, 8))["noise"]["calm"] == 0.75, "samples that do not know it count for nothing"


def test_the_same_journal_gives_the_same_result():
    asked = request()
    records = journal(asked, 8)
    assert result(asked, records) == result(asked, records)
