from __future__ import annotations

import json
import os

import pytest

from bpfbench.errors import BenchError
from bpfbench.model.types import Arm, Artefact, Case, Experiment, Location, Metric, Origin

PROBE = "specs/experiments/probe.yaml"
PACKAGE = "specs/packages/probe.yaml"
RUNTIME = "specs/runtimes/shim.yaml"


def test_a_valid_tree_becomes_a_model_with_all_that_it_says(tree):
    model = tree.load()
    assert list(model.sources) == ["libshim"]
    assert list(model.packages) == ["given", "probe", "shim"]
    assert list(model.runtimes) == ["native", "shim"]
    assert model.sources["libshim"].origins[1] == Origin(
        "archive", {"url": "https://files.example/libshim-{reference}.tar.gz", "sha256": "0" * 62 + "aa", "strip": 1}
    )
    assert model.sources["libshim"].location == Location("specs/sources/libshim.yaml", 2, 1)
    assert model.packages["probe"].depends == ("shim",)
    assert model.packages["probe"].artefacts[1] == Artefact(
        "bin/loader", "executable", ("workloads/probe/loader.c",), libraries=("bpf", "elf")
    )
    assert model.packages["shim"].options == {"anything": {"goes": ["here", 1, True, None]}}
    shim = model.runtimes["shim"]
    assert (shim.where, shim.engine, shim.backend) == ("userspace", "shim-jit", "inline-hook")
    assert shim.log.unable == "unknown opcode"
    assert shim.deviates == {"empty": "it does nothing"}
    assert shim.log.target == ("{work}/target/shim.log", "{work}/victim.out")
    assert shim.target_env == {"LD_PRELOAD": "{package:shim}/lib/agent.so", "TMPDIR": "{work}"}
    assert model.runtimes["native"].engine is None
    assert model.requirements["libbpf"].packages == {"debian": ("libbpf-dev", "libelf-dev")}
    assert model.requirements["btf"].file == "/sys/kernel/btf/vmlinux"


def test_an_experiment_has_its_arms_cases_and_defaults(tree):
    experiment = tree.load().experiments["probe"]
    assert isinstance(experiment, Experiment)
    assert experiment.arms == (
        Arm("native", "native", "not instrumented"),
        Arm("shim", "shim", "in user space"),
        Arm("shim-slow", "shim", "without JIT", {"jit": False}),
    )
    assert experiment.metrics[0] == Metric("time", "time per call", "ns", "call", "lower", True)
    assert experiment.metrics[1] == Metric("size", "memory", "KiB", None, "lower", False)
    assert experiment.cases[0] == Case("empty", "an empty program", "hooks", attaches=("uprobe",))
    assert experiment.cases[1].divisor == 1000
    assert experiment.cases[1].floor == "empty"
    assert experiment.cases[1].params == {"call": "read", "size": 8, "nested": {"deep": [1, 2.5, None]}}
    assert experiment.params == {"rounds": 10}


def test_an_arm_without_a_title_is_told_from_its_runtime(tree):
    tree.change(PROBE, "    title: without JIT\n", "")
    assert tree.load().experiments["probe"].arms[2].title == "shim-slow"


def test_profiles_are_in_seconds_and_fractions(tree):
    model = tree.load()
    quick, paper = model.profiles["quick"], model.profiles["paper"]
    assert model.default_profile == "quick"
    assert (quick.least_blocks, quick.most_blocks, quick.warmup_blocks) == (9, 40, 1)
    assert (quick.half_width, quick.equivalence) == (0.03, 0.025)
    assert (quick.budget, quick.sample_time) == (240.0, 0.04)
    assert (paper.budget, paper.sample_time) == (5400.0, 0.1)
    assert quick.figure_formats == ("svg", "png")
    assert quick.params == {"probe": {"rounds": 5}}


def test_the_digest_follows_every_spec_and_schema_and_not_the_place(tree, tmp_path):
    first = tree.load().digest
    tree.root.rename(tmp_path / "moved")
    tree.root = tmp_path / "moved"
    tree.layout = type(tree.layout).of(tree.root)
    assert tree.load().digest == first
    tree.change(PROBE, "What a probe costs", "What probes cost")
    second = tree.load().digest
    schema = json.loads(tree.read("schemas/system.json"))
    tree.write("schemas/system.json", json.dumps({**schema, "title": "another"}))
    assert len({first, second, tree.load().digest}) == 3


def test_no_sources_and_no_packages_are_fine(tree):
    for folder in ("sources", "packages", "runtimes", "experiments"):
        for path in (tree.root / "specs" / folder).iterdir():
            path.unlink()
        (tree.root / "specs" / folder).rmdir()
    tree.change("specs/profiles.yaml", "    experiments:\n      probe: {rounds: 5}\n", "")
    model = tree.load()
    assert (model.sources, model.packages, model.experiments) == ({}, {}, {})


def test_an_error_reads_as_promised(tree):
    line = tree.change(PROBE, "    runtime: shim", "    runtime: shin")
    problem = tree.problem()
    assert str(problem) == (
        f'{PROBE}:{line}:14: arms[2].runtime: no runtime is called "shin"\n'
        "    expected one of: native, shim\n"
        '  → did you mean "shim"?'
    )


def test_all_errors_of_all_files_are_told_at_once_in_order(tree):
    tree.change(PROBE, "    divisor: 1000", "    divisor: none")
    tree.change(PROBE, "baseline: native", "baseline: naive")
    tree.change("specs/system.yaml", "    why: loads programs\n", "")
    tree.change("specs/profiles.yaml", "budget: 4m", "budget: 240")
    tree.write("specs/runtimes/native.yaml", "runtime: [native\n")
    problems = tree.problems()
    assert [(problem.location.file, problem.field) for problem in problems] == [
        (PROBE, "baseline"),
        (PROBE, "cases[1].divisor"),
        ("specs/profiles.yaml", "profiles.quick.budget"),
        ("specs/runtimes/native.yaml", ""),
        ("specs/system.yaml", "requirements.libbpf.why"),
    ]
    with pytest.raises(BenchError) as caught:
        tree.load()
    assert all(str(problem) in str(caught.value) for problem in problems)


def test_a_file_that_cannot_be_read_makes_no_dangling_references(tree):
    tree.write("specs/packages/shim.yaml", "package: 'shim\n")
    assert {problem.location.file for problem in tree.problems()} == {"specs/packages/shim.yaml"}


@pytest.mark.parametrize("name", ["specs/profiles.yaml", "specs/system.yaml", "schemas/experiment.json"])
def test_a_missing_file_is_told(tree, name):
    (tree.root / name).unlink()
    assert (tree.problem().location.file, tree.problem().message) == (name, "this file is missing")


@pytest.mark.parametrize("text", ["{", '{"type": 3}', "[]", "\x00", "7"])
def test_a_broken_schema_is_told(tree, text):
    tree.write("schemas/source.json", text)
    assert tree.problem().location.file == "schemas/source.json"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("specs/experiments/other.yml", "specs/experiments/other.yaml"),
        ("specs/experiment/other.yaml", "specs/experiments"),
        ("specs/profile.yaml", "profiles.yaml"),
    ],
)
def test_a_spec_that_nobody_would_read_is_told(tree, name, hint):
    tree.write(name, "experiment: other\n")
    problem = tree.problem()
    assert name.startswith(problem.location.file)
    assert hint in problem.hint


def test_other_files_beside_specs_are_left_alone(tree):
    for name in ("specs/README.md", "specs/experiments/.probe.yaml.swp", "specs/experiments/probe.yaml~"):
        tree.write(name, "not: [yaml")
    tree.write("specs/claims/any.yaml", "not ours")
    assert list(tree.load().experiments) == ["probe"]


def test_a_spec_that_is_a_dangling_link_is_told(tree):
    (tree.root / "specs/experiments/gone.yaml").symlink_to("nowhere.yaml")
    assert tree.problem().location.file == "specs/experiments/gone.yaml"


def test_a_folder_that_cannot_be_read_is_told(tree, monkeypatch):
    real = os.scandir

    def refuse(folder: str):
        if folder.endswith("specs/runtimes"):
            raise PermissionError(13, "Permission denied", folder)
        return real(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BenchError, match="specs/runtimes cannot be read: Permission denied"):
        tree.load()


def test_an_empty_spec_is_told(tree):
    tree.write("specs/system.yaml", "# nothing\n")
    problem = next(p for p in tree.problems() if p.location.file == "specs/system.yaml")
    assert (problem.message, problem.expected) == ("found nothing", "a mapping with requirements")
