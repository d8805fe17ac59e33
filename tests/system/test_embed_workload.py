"""The embed workload: what is counted, on every engine that needs nothing but compilers. No times."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.model.load import load

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
EXPERIMENT = MODEL.experiments["embed"]
MISSING = [name for name in ("clang", "gcc") if shutil.which(name) is None]
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(MODEL.packages["embed"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


@pytest.mark.parametrize("engine", ["native", "jit", "interpreter"])
def test_every_execution_counts_and_leaves_what_it_saw(tree, engine):
    command = [str(tree / "embed"), "--object", str(tree / "program.bpf.o"), "--engine", engine]
    words = "".join(f"load {case.params['program']} bytes\nrun 7 2 2\nrun 5 3 3\n" for case in EXPERIMENT.cases)
    done = subprocess.run(command, input=words, capture_output=True, text=True, check=True, timeout=60)
    told = [line.split(" ", 1) for line in done.stdout.splitlines()[1:]]
    assert [word for word, _ in told] == ["LOADED", "DONE", "DONE"] * len(EXPERIMENT.cases)
    bodies = [json.loads(body) for _, body in told]
    for case, loaded, first, second in zip(EXPERIMENT.cases, bodies[::3], bodies[1::3], bodies[2::3], strict=True):
        executions = case.params["executions"]
        assert loaded["engine"] == engine
        assert (first["calls"], second["calls"]) == (14, 15)
        assert (first["hits"], second["hits"]) == (14 * executions, 15 * executions)
        assert int.from_bytes(bytes.fromhex(second["result"]), "little") == (3 * 1000 + 42 if executions else 0)


def test_an_engine_that_is_not_there_is_named(tree):
    command = [str(tree / "embed"), "--object", str(tree / "program.bpf.o"), "--engine", "warp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "no such engine" in done.stdout
