"""The engines workload: every engine that needs nothing but compilers gives the native result for every case. No times."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.model.load import load

ROOT = Path(__file__).parents[2]
MODEL = load(Layout.of(ROOT))
EXPERIMENT = MODEL.experiments["engines"]
MISSING = [name for name in ("clang", "gcc") if shutil.which(name) is None]
pytestmark = [pytest.mark.system, pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")]
OWN = [arm for arm in EXPERIMENT.arms if arm.runtime in ("native", "native-clang", "kernel-run", "embedded", "embedded-interpreter")]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(MODEL.packages["engines"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


def results(tree, arm):
    """Return case → (engine, result, memory) on an arm."""
    return results_of([word.replace("{package:engines}", str(tree)) for word in arm.options["runner"]])


def results_of(command):
    words = "".join(f"load {case.params['program']} {case.params['input']}\nrun 3 2 2\n" for case in EXPERIMENT.cases)
    done = subprocess.run(command, input=words, capture_output=True, text=True, check=True, timeout=100)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    assert [word for word, _ in lines] == ["READY", *["LOADED", "DONE"] * len(EXPERIMENT.cases)], done.stdout
    told = [json.loads(body) for _, body in lines[1:]]
    pairs = zip(EXPERIMENT.cases, told[::2], told[1::2], strict=True)
    return {case.name: (loaded["engine"], ran["result"], ran["memory"]) for case, loaded, ran in pairs}


@pytest.fixture(scope="module")
def native(tree):
    baseline = next(arm for arm in EXPERIMENT.arms if arm.name == EXPERIMENT.baseline)
    return results(tree, baseline)


@pytest.mark.parametrize("arm", OWN, ids=lambda arm: arm.name)
def test_every_program_gives_the_native_result(tree, native, arm):
    if arm.runtime.startswith("kernel") and os.geteuid() != 0:
        pytest.skip("needs root: loading BPF programs")
    found = results(tree, arm)
    wanted = arm.options.get("engine") or MODEL.runtimes[arm.runtime].engine
    assert {name: (wanted, *rest[1:]) for name, rest in native.items()} == found


def test_results_are_what_arithmetic_says(native):
    def number(name):
        return int.from_bytes(bytes.fromhex(native[name][1]), "little")

    assert number("simple") == 12345678
    assert number("prime") == sum(all(n % d for d in range(2, n)) for n in range(2, 300))
    assert number("strcmp_match") == 0
    assert number("strcmp_mismatch") != 0
    values = [(key * 2654435761 + 7) % 2**64 for key in range(256)]
    assert number("map_lookup") == sum(value * (key | 1) for key, value in enumerate(values)) % 2**64
    assert number("map_update") == 256 + values[255]


def test_a_program_that_is_not_there_is_refused_and_the_process_goes_on(tree):
    command = [str(tree / "embedded"), "--object", str(tree / "program.bpf.o"), "--engine", "jit"]
    words = "load nothing bytes\nload simple bytes\nrun 1 1 1\n"
    done = subprocess.run(command, input=words, capture_output=True, text=True, check=True, timeout=30)
    assert [line.split(" ", 1)[0] for line in done.stdout.splitlines()] == ["READY", "REFUSED", "LOADED", "DONE"]
    assert "run_nothing" in done.stdout


@pytest.mark.skipif(shutil.which("wasm-ld") is None or shutil.which("node") is None, reason="not installed: wasm-ld or node (optional)")
def test_v8_gives_the_native_results(native, tmp_path):
    workload.make(MODEL.packages["engines-wasm"], ROOT, tmp_path / "tree", cache=tmp_path / "toolchain")
    found = results_of(["node", str(tmp_path / "tree" / "wasm.mjs"), str(tmp_path / "tree" / "wasm")])
    assert found == {name: ("v8", *rest[1:]) for name, rest in native.items()}
