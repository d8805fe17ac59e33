"""The process that runs tables of small programs: what it answers, and that the JIT's and the kernel's answers are the interpreter's."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.drivers.casetable import about, named, read_tables
from bpfbench.layout import Layout
from bpfbench.model.load import load

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
EXPERIMENT = MODEL.experiments["conformance"]
# the engine is compiled for it, and every program of the tables runs on it in tests/embedded too
pytestmark = [pytest.mark.system, pytest.mark.long]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(MODEL.packages["conformance"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


def talk(tree, engine, words):
    argv = [tree / "conform", "--engine", engine]
    done = subprocess.run(argv, input=words, capture_output=True, text=True, check=False, timeout=60)
    answers = [line.split(" ", 1) for line in done.stdout.splitlines()]
    return [(word, json.loads(fields)) for word, fields in answers], done.returncode


@pytest.mark.parametrize("engine", ["interpreter", "jit", "kernel"])
def test_every_class_has_programs_and_they_come_out_right(tree, engine):
    if engine == "kernel" and os.geteuid() != 0:
        pytest.skip("needs root: loading BPF programs")
    rows, chosen = read_tables(tree / EXPERIMENT.params["tables"]), []
    for case in EXPERIMENT.cases:
        params = case.params
        beside = params.get("beside", ())
        found = named(rows, params["programs"]) if "programs" in params else about(rows, params["instructions"], beside)
        assert len(found) >= 2, case.name
        chosen += found
    (ready, *answers), end = talk(tree, engine, "".join(f"run {row.words}\n" for row in chosen))
    assert (end, ready[1]["engine"]) == (0, "kernel-jit" if engine == "kernel" else engine)
    for row, (word, fields) in zip(chosen, answers, strict=True):
        assert (word, fields.get("result"), fields.get("data")) == ("RAN", row.result, list(row.after.values())), row.name


def test_what_is_refused_is_said_and_the_process_goes_on(tree):
    (_, refused, ran), end = talk(tree, "jit", "run ||mov64 r0, 0\nrun ||mov64 r0, 7; exit\n")
    assert (refused[0], ran, end) == ("REFUSED", ("RAN", {"result": "0700000000000000", "data": []}), 0)
    assert "exit" in refused[1]["message"]


@pytest.mark.parametrize("line", ["run", "run ||", "run ||no64 r0", "run 600=1||mov64 r0, 0; exit", "run ||ja nowhere", "walk"])
def test_a_line_that_cannot_be_understood_ends_it(tree, line):
    answers, end = talk(tree, "interpreter", f"{line}\n")
    assert (answers[-1][0], end) == ("ERROR", 3)


def test_an_engine_that_is_not_there_is_an_error(tree):
    answers, end = talk(tree, "another", "")
    assert (answers[0][0], answers[0][1]["stage"], end) == ("ERROR", "options", 2)
