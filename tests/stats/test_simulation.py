"""The promises hold in a short simulation through the stop rule; the benchmark makes the long one."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bpfbench.stats.stopping import relative_half_width

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "simulation.py"


@pytest.fixture(scope="module")
def benchmark():
    path = list(sys.path)
    spec = importlib.util.spec_from_file_location("benchmark_statistics", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    sys.path[:] = path  # it is a script and sets its own
    yield module
    del sys.modules[spec.name]


def noise(benchmark, name):
    return next(noise for noise in benchmark.NOISES if noise.name == name)


@pytest.mark.parametrize("name", ["lognormal 5 %", "exponential tail 8 %", "one noisy arm"])
def test_equal_arms(benchmark, name):
    tally = benchmark.simulate(noise(benchmark, name), benchmark.QUICK, 1.0, 400, (11,))
    assert 9 < tally.blocks / tally.pairs < 40  # the stop rule is at work
    # Two standard errors of so short a simulation, for and against.
    assert tally.medians / tally.pairs / 2 >= 0.93 + 0.01
    assert tally.share("better", "worse") <= 0.06 + 0.023
    assert sum(tally.verdicts.values()) == tally.pairs == 400


def test_a_slower_arm(benchmark):
    tally = benchmark.simulate(noise(benchmark, "lognormal 5 %"), benchmark.PAPER, 1.05, 150, (11,))
    assert tally.share("worse") >= 0.80
    assert tally.share("better") == 0


def test_the_stop_rule_ends_at_the_first_look_where_both_arms_are_narrow(benchmark):
    quiet = np.full(40, 5.0)
    settling = np.array([1.0, 1.2] * 5 + [1.1] * 30)  # its interval is [1.0, 1.2] at first
    looks = [n for n in range(9, 41) if relative_half_width(settling[:n]) <= 0.03]
    assert 9 < looks[0] < 40
    assert benchmark.sample(quiet, quiet, benchmark.QUICK) == (9, True)
    assert benchmark.sample(settling, quiet, benchmark.QUICK) == (looks[0], True)
    assert benchmark.sample(quiet, settling, benchmark.QUICK) == (looks[0], True)
    assert benchmark.sample(quiet, np.array([1.0, 2.0] * 20), benchmark.QUICK) == (40, False)


def test_the_script_says_the_same_for_the_same_seed_and_fails_when_a_promise_is_broken():
    def run(*arguments):
        return subprocess.run(
            [sys.executable, SCRIPT, "--only", "normal 2", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    first, second, other = run("--pairs", "40"), run("--pairs", "40"), run("--pairs", "40", "--seed", "2")
    assert first.returncode == 0, first.stdout + first.stderr
    assert first.stdout == second.stdout != other.stdout
    assert "every promise kept" in first.stdout
