"""The real bpftime, from a build tree that BPFBENCH_TEST_BPFTIME_BUILD names: nothing of it is fetched or built here."""

import importlib.util
import json
import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = os.environ.get("BPFBENCH_TEST_BPFTIME_BUILD")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not BUILD, reason="no build tree of bpftime was given: BPFBENCH_TEST_BPFTIME_BUILD=/path"),
]

CASES = ("uprobe", "uretprobe", "uprobe_uretprobe", "read", "write", "hash_update", "per_cpu_array_lookup")
WORDS = ("budget=1s", "noise=accept", f"cases={','.join(CASES)}", f"override.bpftime-build={BUILD}")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """Return a checkout with the real experiment, and as few blocks as there can be."""
    spec = importlib.util.spec_from_file_location("bpfbench_tests_checkout", ROOT / "tests/commands/checkout.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.Checkout(tmp_path_factory.mktemp("bpftime") / "checkout")
    names = ["experiments/uprobe.yaml", *(f"packages/{name}.yaml" for name in ("bpftime", "bpftime-checked"))]
    for name in [*names, *(f"runtimes/bpftime{name}.yaml" for name in ("", "-ubpf", "-checked"))]:
        shutil.copy(ROOT / "specs" / name, made.root / "specs" / name)
    text = (made.root / "specs/experiments/uprobe.yaml").read_text()
    arms = text[text.index("arms:") : text.index("metrics:")]
    made.edit("specs/experiments/uprobe.yaml", arms, "arms: [native, bpftime, bpftime-ubpf, bpftime-checked]\n\n")
    made.edit("specs/profiles.yaml", "blocks: {least: 10, most: 40, warmup: 1}", "blocks: {least: 7, most: 7, warmup: 1}")
    made.edit("specs/profiles.yaml", "sample_time: 60ms", "sample_time: 10ms")
    return made


def result(checkout, place, name="uprobe"):
    [path] = checkout.root.glob(f"results/*/{place}/{name}.json")
    return json.loads(path.read_text())


def test_every_case_is_proved_or_told_why_not_and_nothing_is_left_behind(checkout):
    segments, home = set(Path("/dev/shm").iterdir()), Path.home() / ".bpftime"
    before = home.stat().st_mtime_ns if home.exists() else None
    ended = checkout.doit("run_uprobe", *WORDS)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    measured = result(checkout, "*@bpftime-build")
    arms = {arm["name"]: arm["status"] for arm in measured["arms"]}
    ubpf = arms.pop("bpftime-ubpf")
    assert arms == {"native": "ok", "bpftime": "ok", "bpftime-checked": "unsupported"}
    # Not every version of uBPF knows the atomic instructions by which our programs count.
    assert ubpf in ("ok", "unsupported")
    for cell in measured["cells"]:
        if cell["arm"] == "bpftime-ubpf" and cell["status"] != "ok":
            assert "unknown opcode" in cell["reason"]
        elif cell["status"] == "ok" and cell["arm"] != "native":
            assert (cell["engine"], cell["backend"]) == ("ubpf" if "ubpf" in cell["arm"] else "llvm", "frida-gum")
            assert cell["proof"]["kind"] == "hits"
            assert cell["proof"]["expected"] == cell["proof"]["observed"] > 0
    assert measured["inputs"]["bpftime"]["about"]["options"]["LLVM_DIR"]
    assert not [path for path in set(Path("/dev/shm").iterdir()) - segments if "bpfbench" in path.name]
    assert (home.stat().st_mtime_ns if home.exists() else None) == before


def test_an_engine_that_is_not_there_fails_the_arm_with_the_runtime_s_own_words(checkout):
    runtime = checkout.root / "specs/runtimes/bpftime.yaml"
    before = runtime.read_text()
    try:
        runtime.write_text(before.replace("VM_NAME: llvm", "VM_NAME: nonsense").replace("engine: llvm", "engine: nonsense"))
        ended = checkout.doit("run_uprobe", *WORDS[:2], WORDS[-1], "cases=uprobe", "arms=bpftime")
        assert ended.returncode != 0
        assert "log says" in ended.stdout
        assert "nonsense" in ended.stdout
    finally:
        runtime.write_text(before)


def test_a_build_compared_with_itself_is_measured_on_both_sides(checkout):
    ended = checkout.doit("compare_bpftime", f"a={BUILD}", f"b={BUILD}", "budget=1s", "noise=accept")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "a and b are the same, byte for byte" in ended.stdout
    compared = result(checkout, "quick", "compare_bpftime")
    assert len(compared["comparisons"]) == 17
    assert {cell["engine"] for cell in compared["cells"]} == {"llvm"}
