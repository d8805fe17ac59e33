"""A profile may give an experiment a budget of its own; all else there is for the experiment's driver."""

from __future__ import annotations

from bpfbench.model.cache import load_cached


def test_an_experiment_has_the_profile_s_budget_or_its_own(tree):
    tree.change("specs/profiles.yaml", "probe: {rounds: 5}", "probe: {rounds: 5, budget: 90s}")
    profile = tree.load().profiles["quick"]
    assert (profile.budget_of("probe"), profile.budget_of("other")) == (90.0, 240.0)
    assert profile.params["probe"] == {"rounds": 5}
    for _ in range(2):  # the second comes from the cache
        assert load_cached(tree.layout).profiles["quick"].budget_of("probe") == 90.0


def test_a_budget_without_a_unit_is_refused_where_it_stands(tree):
    line = tree.change("specs/profiles.yaml", "probe: {rounds: 5}", "probe: {budget: 90}")
    problem = tree.problem()
    assert problem.location.line == line
    assert "budget" in problem.field


def test_a_first_block_that_finds_out_how_much_to_sample_cannot_be_left_out(tree):
    line = tree.change("specs/profiles.yaml", "warmup: 1", "warmup: 0")
    problem = tree.problem()
    assert problem.location.line == line
    assert "warmup" in problem.field
    assert "at least 1" in str(problem)
