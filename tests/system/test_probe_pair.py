"""The driver of probed functions with the real loader and victim, on the native and the kernel arm."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpfbench.drivers import probe_pair
from bpfbench.layout import Layout
from bpfbench.measure.schedule import split_cpus
from bpfbench.model.load import load
from bpfbench.model.types import Model
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell, Sample

from .bad_luck import Checkout

pytestmark = pytest.mark.system
ROOT = Path(__file__).resolve().parents[2]
Take = Callable[..., Sample]


@pytest.fixture(scope="module")
def model() -> Model:
    return load(Layout.of(ROOT))


@pytest.fixture
def take(built: Checkout, model: Model, tmp_path: Path) -> Iterator[Take]:
    """Return a function that takes one sample of a case on an arm, after its pilot."""
    experiment = model.experiments["uprobe"]
    profile = replace(model.profiles["quick"], sample_time=0.005)
    measured, other = split_cpus(sorted(os.sched_getaffinity(0)))
    with Reaper("bpfbench-test-probe-pair") as reaper:
        outputs = {"uprobe": built.items("uprobe")[0].tree}
        bench = Bench(experiment, profile, reaper, outputs, tmp_path, measured, other)
        driver = probe_pair.create()

        def one(case: str, arm: str, **params: object) -> Sample:
            found = next(one for one in experiment.cases if one.name == case)
            found = replace(found, params={**found.params, **params})
            cell = Cell(found, next(one for one in experiment.arms if one.name == arm), model.runtimes[arm])
            pilot, plan = driver.pilot(bench, cell)
            if pilot.status != "ok":
                return pilot
            assert plan["calls"] > 0
            return driver.sample(bench, cell, plan, 1)

        yield one
    assert not list(tmp_path.glob("sample-*"))


@pytest.mark.parametrize("case", ["uprobe", "uretprobe", "array_update", "first_endbr64"])
def test_the_kernel_counts_every_call(take: Take, kernel_arm: None, case: str) -> None:
    sample = take(case, "kernel")
    assert sample.status == "ok", sample.reason
    assert sample.proof
    assert sample.proof.holds
    assert sample.proof.expected > 0
    assert sample.engine == "kernel-jit"
    assert sample.metrics["time"] > 0
    assert sample.evidence["first_instruction"] == ("endbr64" if case == "first_endbr64" else "push")


def test_the_bare_arm_runs_no_program_and_proves_that_nobody_touched_its_text(take: Take) -> None:
    sample = take("uprobe", "native")
    assert sample.status == "ok", sample.reason
    assert sample.proof
    assert sample.proof.holds
    assert sample.engine is None
    assert sample.metrics["time"] > 0


def test_a_probe_on_a_function_that_is_not_called_fails_the_sample(take: Take, kernel_arm: None) -> None:
    sample = take("uprobe", "kernel", attach=["uprobe:at_entry:bench_mov"])
    assert sample.status == "failed"
    assert sample.metrics == {}


def test_a_function_with_another_first_instruction_fails_the_sample(take: Take) -> None:
    sample = take("uprobe", "native", first_instruction="nop5")
    assert sample.status == "failed"
    assert "begins with push" in str(sample.reason)
