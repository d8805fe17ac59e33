"""The step behind run_<experiment>: what its keys are made of, and a result derived from samples that are in the store."""

import json
import os
import random

import pytest

from bpfbench import context as contexts
from bpfbench.measure.journal import Journal
from bpfbench.measure.loop import Design, Loop
from bpfbench.measure.request import Output
from bpfbench.measuring import JOURNAL, MeasureStep
from bpfbench.progress import Progress
from bpfbench.sampling import Bench, Proof, Sample
from bpfbench.steps import WAITS
from bpfbench.store.store import Store

HASH = "sha256-" + "A" * 43 + "="


class Invented:
    """A driver whose samples are invented."""

    rng = random.Random(7)

    def pilot(self, bench, cell):
        return self.sample(bench, cell, {}, 0), {"calls": 5}

    def sample(self, bench, cell, plan, number):
        time = 100.0 + self.rng.random()
        return Sample("ok", metrics={"time": time, "time_mean": time + 1}, proof=Proof("hits", 5, 5), engine=cell.runtime.engine)


class World:
    """A checkout in which nothing is really built or measured."""

    def __init__(self, checkout):
        self.checkout, root = checkout, checkout.root
        self.root, self.outputs, self.reasons = root, {"uprobe": Output("0" * 32 + "-uprobe", root, HASH)}, {}

    def step(self, **words):
        context = contexts.create(self.root, words, self.root)
        return MeasureStep(context, "uprobe", self.outputs.get, self.reasons.get)

    def plant(self, step):
        """Put invented samples into the store under the step's key."""

        def make(tree):
            with Journal(tree / JOURNAL) as journal:
                request = step.request()
                begin = journal.append(
                    "begin", seed=1, started=0.0, boot_id="boot", run_key=step.key().id, inputs={},
                    environment={"before": {"verdict": "quiet", "warnings": []}, "placement": {"measured_cpus": [0]}},
                )  # fmt: skip
                bench = Bench(request.experiment, request.profile, None, {}, self.root, frozenset(), frozenset())
                Loop(bench, Invented(), request.cells(), Design(1, 1, 7, 7, 0.05, 9.0), journal, [begin]).run()

        return Store(step.context.layout.store).realise(step.key(), make)

    def run(self, step):
        with Progress(step.context.layout.progress, step.name) as progress:
            step.run(progress)


@pytest.fixture
def world(checkout, monkeypatch):
    monkeypatch.setattr(contexts, "_current", None)
    return World(checkout)


@pytest.fixture
def planted(world):
    world.plant(world.step())
    world.run(world.step())
    return world


def test_without_its_package_it_waits(world):
    world.outputs.clear()
    step = world.step()
    assert step.key() is None
    assert (step.standing().uptodate, step.standing().why) == (False, WAITS)
    assert step.wanted() == []


def test_samples_in_the_store_are_not_taken_again(world):
    step = world.step()
    assert step.standing().why == "never made before"
    item = world.plant(step)
    world.run(world.step())
    result = json.loads(world.step().shown.read_bytes())
    assert {(cell["case"], cell["arm"], cell["status"]) for cell in result["cells"]} == {
        (case, arm, "ok") for case in ("uprobe", "uretprobe") for arm in ("native", "kernel")
    }
    assert all(cell["metrics"]["time"]["n"] == 7 for cell in result["cells"])
    assert result["run_key"] == item.id
    assert world.step().last().id == item.id
    assert world.step().standing().uptodate


def test_a_title_is_derived_anew_from_the_same_samples(planted):
    before = planted.step()
    planted.checkout.edit("specs/experiments/uprobe.yaml", "title: A small experiment", "title: Another title")
    step = planted.step()
    assert step.key() == before.key()
    assert not step.standing().uptodate
    assert [change.path for change in step.changed()] == ["wording"]
    planted.run(step)
    assert json.loads(step.shown.read_bytes())["title"] == "Another title"
    assert planted.step().standing().uptodate


def test_a_result_that_was_tampered_with_is_put_right(planted):
    shown = planted.step().shown
    good = shown.read_bytes()
    shown.write_bytes(good.replace(b'"ok"', b'"OK"'))
    assert not planted.step().standing().uptodate
    planted.run(planted.step())
    assert shown.read_bytes() == good


def test_tampered_samples_are_no_samples(planted):
    journal = planted.step().last().tree / JOURNAL
    journal.chmod(0o644)
    journal.write_bytes(journal.read_bytes().replace(b"100.", b"200.", 1))
    assert "damaged" in planted.step().standing().why


@pytest.mark.parametrize("words", [{"budget": "9s"}, {"arms": "native"}, {"cases": "uprobe"}, {"take": "b"}, {"profile": "ci"}])
def test_whatever_can_change_the_samples_is_in_the_key(world, words):
    assert world.step(**words).key() != world.step().key()


def test_another_output_has_another_key_and_another_permission_has_not(world):
    before = world.step().key()
    assert world.step(noise="accept").key() == before
    world.outputs["uprobe"] = Output("1" * 32 + "-uprobe", world.root, HASH.replace("A", "B"))
    assert world.step().key() != before


def test_a_package_that_cannot_be_had_is_part_of_what_is_asked(world):
    world.outputs.clear()
    world.reasons["uprobe"] = "its source is out of reach"
    assert dict(world.step().request().missing) == {"uprobe": "its source is out of reach"}


def test_a_close_look_names_everything_that_decides(planted):
    good, paths = planted.step().look()
    assert good
    step = planted.step()
    assert {str(step.shown), str(step.pointer), str(step.last().tree / JOURNAL), str(step.last().path / "manifest.json")} <= set(paths)
    assert all(os.path.lexists(path) for path in paths)


def test_only_a_run_of_the_same_extent_tells_how_long_it_takes(planted):
    assert planted.step().last_alike() is not None
    assert planted.step(take="b").last_alike() is not None
    assert planted.step(budget="9s").last_alike() is None
    assert planted.step(cases="uprobe").last_alike() is None
    assert planted.step(budget="9s").budget() == 9.0
