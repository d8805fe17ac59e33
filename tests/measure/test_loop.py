import random

import pytest

from bpfbench.measure.fold import fold
from bpfbench.measure.journal import Journal, read
from bpfbench.measure.loop import Design, Loop
from bpfbench.model.types import Arm, Case, Experiment, Group, Location, Metric, Profile, Runtime
from bpfbench.sampling import Bench, Cell, Proof, Sample

HERE = Location("specs/experiments/x.yaml", 1, 1)
METRIC = Metric("time", "time", "ns", "call", "lower", primary=True)


class Fake:
    """A driver whose samples come from a function of (cell, number of samples of that cell so far)."""

    def __init__(self, value):
        self.value, self.taken = value, []

    def pilot(self, bench, cell):
        sample = self.value(cell.id, 0)
        return (sample if isinstance(sample, Sample) else ok(sample)), {"calls": 7}

    def sample(self, bench, cell, plan, number):
        assert plan == {"calls": 7}
        self.taken.append(cell.id)
        sample = self.value(cell.id, self.taken.count(cell.id))
        return sample if isinstance(sample, Sample) else ok(sample)


def ok(value):
    return Sample("ok", metrics={"time": value}, proof=Proof("hits", 7, 7))


def cells(cases="ab", arms=("native", "kernel")):
    runtime = Runtime("kernel", "kernel", "kernel", "#000000", HERE)
    return [Cell(Case(case, case, "g"), Arm(arm, "kernel", arm), runtime) for case in cases for arm in arms]


@pytest.fixture
def bench(tmp_path):
    experiment = Experiment("x", "x", "", "fake", "native", (), (), (Group("g", "g"),), (), (METRIC,), HERE)
    profile = Profile("quick", "quick", 5, 20, 1, 0.05, 0.05, 100.0, 0.02, ("svg",))
    return Bench(experiment, profile, None, {}, tmp_path, frozenset({0}), frozenset({0}))


DESIGN = Design(seed=1, warmup_blocks=1, least_blocks=8, most_blocks=20, half_width=0.05, budget=100.0)


def run(bench, driver, tmp_path, *, design=DESIGN, which=None):
    path = tmp_path / "journal.jsonl"
    records = read(path)
    with Journal(path) as journal:
        if not records:
            records.append(journal.append("begin", seed=1))
        else:
            records.append(journal.append("resume"))
        state = Loop(bench, driver, which or cells(), design, journal, records).run()
    assert fold(read(path)) == state, "the journal must say all that the loop knows"
    return state


def steady(rng):
    return lambda id, n: 100.0 + rng.random()


def test_narrow_cases_stop_at_the_least_number_of_blocks_and_arms_stay_even(bench, tmp_path):
    driver = Fake(steady(random.Random(1)))
    state = run(bench, driver, tmp_path)
    assert {cell.stopped for cell in state.cells.values()} == {"width"}
    counts = {len(cell.values["time"]) for cell in state.cells.values()}
    assert len(counts) == 1
    assert 8 <= counts.pop() <= 10
    assert state.end is not None


def test_a_wide_case_goes_on_alone_up_to_the_most_blocks(bench, tmp_path):
    rng = random.Random(1)
    driver = Fake(lambda id, n: 100.0 + (rng.random() if id[0] == "a" else 400 * rng.random()))
    state = run(bench, driver, tmp_path)
    assert state.cell("a", "native").stopped == "width"
    assert state.cell("b", "native").stopped == "blocks"
    assert len(state.cell("b", "kernel").values["time"]) == 20 > len(state.cell("a", "kernel").values["time"])


def test_one_wide_arm_keeps_the_whole_case_going_so_that_arms_stay_paired(bench, tmp_path):
    rng = random.Random(1)
    driver = Fake(lambda id, n: 100.0 + (rng.random() if id[1] == "native" else 400 * rng.random()))
    state = run(bench, driver, tmp_path)
    assert state.cell("a", "native").blocks == state.cell("a", "kernel").blocks
    assert len(state.cell("a", "native").blocks) == 20


def test_the_budget_ends_sampling_but_never_before_the_least_blocks(bench, tmp_path):
    rng = random.Random(1)
    driver = Fake(lambda id, n: 400 * rng.random() + 1)
    spent = Design(1, 1, 8, 20, 0.05, budget=0.0)
    state = run(bench, driver, tmp_path, design=spent)
    assert {cell.stopped for cell in state.cells.values()} == {"budget"}
    assert {len(cell.values["time"]) for cell in state.cells.values()} == {8}


def test_a_failing_cell_is_not_sampled_again_and_the_rest_goes_on(bench, tmp_path):
    rng = random.Random(1)

    def value(id, n):
        return Sample.failed("it crashed") if id == ("a", "kernel") and n == 3 else 100.0 + rng.random()

    driver = Fake(value)
    state = run(bench, driver, tmp_path)
    assert (state.cell("a", "kernel").status, state.cell("a", "kernel").reason) == ("failed", "it crashed")
    assert driver.taken.count(("a", "kernel")) == 3
    assert state.cell("a", "native").stopped == state.cell("b", "kernel").stopped == "width"


def test_a_pilot_that_is_refused_takes_its_cell_out(bench, tmp_path):
    rng = random.Random(1)
    driver = Fake(lambda id, n: Sample.unsupported("no such helper") if id == ("b", "kernel") else 100.0 + rng.random())
    state = run(bench, driver, tmp_path)
    assert state.cell("b", "kernel").status == "unsupported"
    assert ("b", "kernel") not in driver.taken


def test_when_everything_is_refused_the_run_ends(bench, tmp_path):
    state = run(bench, Fake(lambda id, n: Sample.unsupported("no")), tmp_path)
    assert state.blocks == 0
    assert state.end is not None


def test_an_interrupted_run_goes_on_as_it_would_have(bench, tmp_path):
    """Stopped in the middle of block 4: the first three blocks are kept, the fourth is taken anew in the same order."""
    whole = Fake(lambda id, n: 100.0 + n % 3)
    expected = run(bench, whole, tmp_path / "whole")

    class Interrupted(Fake):
        def sample(self, *args):
            if len(self.taken) == 3 * 4 + 2:
                raise KeyboardInterrupt
            return super().sample(*args)

    first = Interrupted(lambda id, n: 100.0 + n % 3)
    with pytest.raises(KeyboardInterrupt):
        run(bench, first, tmp_path)
    second = Fake(lambda id, n: 100.0 + (n + 3) % 3)
    state = run(bench, second, tmp_path)
    assert first.taken[:12] + second.taken == whole.taken
    assert state.resumed == 1
    assert {id: cell.values for id, cell in state.cells.items()} == {id: cell.values for id, cell in expected.cells.items()}


def test_warm_up_blocks_are_taken_and_not_counted(bench, tmp_path):
    design = Design(1, 3, 8, 20, 0.05, 100.0)
    driver = Fake(lambda id, n: 1000.0 if n <= 2 else 100.0)
    state = run(bench, driver, tmp_path, design=design)
    assert set(state.cell("a", "kernel").values["time"]) == {100.0}
    assert driver.taken.count(("a", "kernel")) == state.blocks + 2


def test_a_finished_journal_is_not_sampled_again(bench, tmp_path):
    run(bench, Fake(steady(random.Random(1))), tmp_path)
    again = Fake(steady(random.Random(2)))
    run(bench, again, tmp_path)
    assert again.taken == []


def test_the_stop_rule_does_not_look_at_verdicts(bench, tmp_path):
    """Scaling one arm by a constant changes every verdict and no interval's relative width: the stop must not move."""
    def driver(factor):
        rng = random.Random(3)
        return Fake(lambda id, n: (100.0 + 30 * rng.random()) * (factor if id[1] == "kernel" else 1.0))

    one, two = run(bench, driver(1.0), tmp_path / "1"), run(bench, driver(2.0), tmp_path / "2")
    assert [cell.blocks for cell in one.cells.values()] == [cell.blocks for cell in two.cells.values()]
