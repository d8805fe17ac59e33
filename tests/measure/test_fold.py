from bpfbench.measure.fold import fold


def sample(block, arm="kernel", *, kind="sample", status="ok", value=1.0, hits=10, observed=None):
    return {
        "kind": kind, "block": block, "case": "uprobe", "arm": arm, "status": status, "wall": 0.5,
        "reason": None if status == "ok" else "it broke", "metrics": {"time": value} if status == "ok" else {},
        "proof": {"kind": "hits", "expected": hits, "observed": hits if observed is None else observed},
        "plan": {"calls": 5}, "noise": {"steal": 0.0}, "engine": "kernel-jit",
    }


def block(number, stopped=()):
    return {"kind": "block", "block": number, "stopped": list(stopped)}


BEGIN = {"kind": "begin", "seed": 1}


def test_values_of_finished_blocks_count_and_proofs_add_up():
    state = fold([BEGIN, sample(0, kind="pilot"), block(0), sample(1, value=2.0), block(1), sample(2, value=3.0), block(2)])
    cell = state.cell("uprobe", "kernel")
    assert (cell.values["time"], cell.blocks, cell.plan) == ([2.0, 3.0], [1, 2], {"calls": 5})
    assert (cell.expected, cell.observed, cell.engine) == (20, 20, "kernel-jit")
    assert (state.blocks, state.warmups, state.sampled) == (2, 1, 1.5)


def test_an_unfinished_block_does_not_count_and_is_dropped_on_resume():
    records = [BEGIN, sample(0, kind="pilot"), block(0), sample(1, value=2.0), block(1), sample(2, value=99.0)]
    assert fold(records).cell("uprobe", "kernel").values["time"] == [2.0]
    resumed = [*records, {"kind": "resume"}, sample(2, value=3.0), block(2)]
    state = fold(resumed)
    assert state.cell("uprobe", "kernel").values["time"] == [2.0, 3.0]
    assert state.resumed == 1


def test_a_failed_sample_fails_its_cell_and_shows_the_proof_that_did_not_hold():
    state = fold([BEGIN, sample(0, kind="pilot"), block(0), sample(1), block(1), sample(2, status="failed", observed=7), block(2)])
    cell = state.cell("uprobe", "kernel")
    assert (cell.status, cell.reason, cell.expected, cell.observed) == ("failed", "it broke", 10, 7)


def test_a_pilot_gives_no_values_but_may_refuse():
    state = fold([BEGIN, sample(0, kind="pilot", status="unsupported"), block(0)])
    cell = state.cell("uprobe", "kernel")
    assert (cell.status, cell.values, cell.plan) == ("unsupported", {}, None)


def test_a_prerequisite_that_is_not_there_refuses_a_cell():
    state = fold([BEGIN, {"kind": "refused", "case": "uprobe", "arm": "kernel", "status": "unsupported", "reason": "no BPF"}])
    assert state.cell("uprobe", "kernel").reason == "no BPF"


def test_why_sampling_stopped_is_kept():
    state = fold([BEGIN, sample(0, kind="pilot"), block(0), sample(1), block(1, [["uprobe", "kernel", "width"]])])
    assert state.cell("uprobe", "kernel").stopped == "width"
