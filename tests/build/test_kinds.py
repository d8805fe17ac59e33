"""Artefacts that are no programs in C: scripts, which are copied, and WebAssembly modules."""

import shutil
import subprocess

import pytest

from bpfbench.build import workload
from bpfbench.errors import BenchError
from bpfbench.model.types import Artefact, Location, Package

HERE = Location("specs/packages/p.yaml", 1, 1)


def package(*artefacts, inputs=("own",)):
    return Package("p", "p", "workload", HERE, inputs=inputs, artefacts=artefacts)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root" / "own").mkdir(parents=True)
    (tmp_path / "root" / "own" / "run.py").write_text("print(1)\n")
    (tmp_path / "root" / "elsewhere.py").write_text("print(2)\n")
    return tmp_path / "root"


def test_a_script_is_part_of_the_package_as_it_is_and_of_its_key(root, tmp_path):
    script = package(Artefact("bin/run.py", "script", ("own/run.py",)))
    before = workload.key_components(script, root, cache=tmp_path / "cache")
    workload.make(script, root, tmp_path / "tree", cache=tmp_path / "cache")
    assert (tmp_path / "tree" / "bin" / "run.py").read_text() == "print(1)\n"
    (root / "own" / "run.py").write_text("print(3)\n")
    assert workload.key_components(script, root, cache=tmp_path / "cache") != before


def test_a_script_that_is_no_input_is_refused(root, tmp_path):
    with pytest.raises(BenchError, match=r"elsewhere\.py is not among the inputs"):
        workload.key_components(package(Artefact("run.py", "script", ("elsewhere.py",))), root, cache=tmp_path / "cache")


@pytest.mark.parametrize("kind", ["script", "wasm-module"])
def test_one_source_makes_one_of_them(root, tmp_path, kind):
    several = package(Artefact("x", kind, ("own/run.py", "own/run.py")))
    with pytest.raises(BenchError, match="exactly one source"):
        workload.key_components(several, root, cache=tmp_path / "cache")


@pytest.mark.skipif(shutil.which("wasm-ld") is None or shutil.which("clang") is None, reason="not installed: clang or wasm-ld (optional)")
def test_a_module_is_webassembly_and_the_same_every_time(root, tmp_path):
    (root / "own" / "m.c").write_text('__attribute__((export_name("two"))) int two(void) { return N; }\n')
    module = package(Artefact("m.wasm", "wasm-module", ("own/m.c",), flags=("-DN=2",)))
    made = []
    for name in ("one", "other"):
        workload.make(module, root, tmp_path / name, cache=tmp_path / "cache")
        made.append((tmp_path / name / "m.wasm").read_bytes())
    assert made[0] == made[1]
    assert made[0].startswith(b"\0asm")
    assert b"two" in made[0]
    assert subprocess.run(["grep", "-c", str(tmp_path), tmp_path / "one" / "m.wasm"], capture_output=True, check=False).stdout == b"0\n"
