"""The arms embedded, embedded-llvm and embedded-gum as the product runs them; and gum where it is used by hand."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bpfbench.drivers import probe_pair
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.model.types import Arm, Model, Runtime
from bpfbench.process.reaper import Reaper
from bpfbench.sampling import Bench, Cell, Sample

from ..embedded import compile, test_runtime
from ..embedded.conftest import Segment, pitfalls  # noqa: F401 - a fixture
from ..embedded.talk import Program, eventually
from ..embedded.test_pitfalls import PLAIN, Pair
from ..embedded.test_runtime import PUSH
from .packages_here import Tree

ROOT = Path(__file__).resolve().parents[2]
RETURN = "uretprobe:at_return:bench_push"
pytestmark = pytest.mark.system
CASES = ("uprobe", "uretprobe", "uprobe_uretprobe", "per_cpu_hash_update")


@functools.cache
def model() -> Model:
    return load(Layout.of(ROOT))


@pytest.fixture
def frida(tree: Tree) -> Path:
    """The tree of the package frida; without it, tests of gum are skipped with the reason."""
    return tree("frida")


@pytest.fixture
def segment(tree: Tree, tmp_path: Path) -> Iterator[Segment]:
    segment = Segment(tree("embedded"), tmp_path)
    yield segment
    segment.file.unlink(missing_ok=True)


@pytest.fixture
def bench(segment: Segment, tree: Tree, tmp_path: Path) -> Iterator[test_runtime.Bench]:
    bench = test_runtime.Bench(segment, tree("uprobe"), tmp_path)
    yield bench
    bench.end()


def outputs(arm: str, tree: Tree) -> dict[str, Path]:
    """Build what a sample on that arm executes."""
    return {name: tree(name) for name in ("uprobe", *model().runtimes[arm].packages)}


def sample(arm: str, case: str, trees: Mapping[str, Path], work: Path, **changes: str) -> Sample:
    """Take one short sample by the product's driver, with its spec of the arm's runtime."""
    experiment = model().experiments["uprobe"]
    runtime: Runtime = replace(model().runtimes[arm], **changes)  # type: ignore[arg-type]
    cpus = frozenset(os.sched_getaffinity(0))
    profile = replace(model().profiles["quick"], sample_time=0.005)
    chosen = next(one for one in experiment.cases if one.name == case)
    work.mkdir(exist_ok=True)
    with Reaper("bpfbench-test-arms") as reaper:
        bench = Bench(experiment, profile, reaper, trees, work, cpus, cpus)
        return probe_pair.create().pilot(bench, Cell(chosen, Arm(arm, arm, arm), runtime))[0]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("arm", ["embedded", "embedded-llvm", "embedded-gum"])
def test_an_arm_proves_counts_engine_and_backend(arm: str, case: str, tree: Tree, tmp_path: Path) -> None:
    found = sample(arm, case, outputs(arm, tree), tmp_path / "work")
    assert (found.status, found.reason) == ("ok", None)
    assert found.proof is not None
    assert found.proof.expected == found.proof.observed > 0
    assert (found.engine, found.backend) == {
        "embedded": ("jit", "trampoline"), "embedded-llvm": ("llvm", "trampoline"), "embedded-gum": ("jit", "gum"),
    }[arm]


@pytest.mark.parametrize(
    ("arm", "engine", "backend", "reason"),
    [
        ("embedded", "llvm", "trampoline", "ran on the engine jit, expected llvm"),
        ("embedded", "jit", "gum", "hooked by trampoline, expected gum"),
        ("embedded-llvm", "jit", "trampoline", "ran on the engine llvm, expected jit"),
        ("embedded-gum", "jit", "trampoline", "hooked by gum, expected trampoline"),
    ],
)
def test_another_engine_or_backend_than_the_spec_names_fails(
    arm: str, engine: str, backend: str, reason: str, tree: Tree, tmp_path: Path
) -> None:
    found = sample(arm, "uprobe", outputs(arm, tree), tmp_path / "work", engine=engine, backend=backend)
    assert (found.status, found.reason) == ("failed", reason)
    assert not found.metrics


@pytest.mark.parametrize(
    ("arm", "package", "reason"),
    [
        ("embedded-llvm", "embedded-llvm", "engine llvm: {place}/llvm.so: cannot open shared object file"),
        ("embedded-gum", "frida", "gum cannot be brought into this process: ModuleNotFoundError: No module named 'frida'"),
    ],
)
def test_an_arm_whose_library_is_not_there_fails_and_says_so(
    arm: str, package: str, reason: str, tree: Tree, tmp_path: Path
) -> None:
    found = sample(arm, "uprobe", {"uprobe": tree("uprobe"), "embedded": tree("embedded"), package: tmp_path}, tmp_path / "work")
    assert found.status == "failed"
    assert reason.format(place=tmp_path) in str(found.reason)


def test_the_libraries_differ_in_nothing_but_the_engine() -> None:
    """LLVM's arm executes the very files of `embedded`, and gum's too."""
    jit, llvm, gum = (model().runtimes[name] for name in ("embedded", "embedded-llvm", "embedded-gum"))
    assert jit.target_env["LD_PRELOAD"] == llvm.target_env["LD_PRELOAD"] == gum.target_env["LD_PRELOAD"]
    assert jit.loader_env["LD_PRELOAD"] == llvm.loader_env["LD_PRELOAD"] == gum.loader_env["LD_PRELOAD"]
    assert "bpftime" not in f"{llvm} {gum}"


# --- gum ----------------------------------------------------------------------------------------------------


def by_gum(frida: Path) -> dict[str, str]:
    return {"EMBEDDED_BACKEND": "gum", "EMBEDDED_GUM": str(frida)}


def test_gum_lets_go_when_the_loader_ends(bench: test_runtime.Bench, frida: Path) -> None:
    victim = bench.victim("--function=bench_push", env=bench.segment.target(**by_gum(frida)))
    bare = victim.json("READY")["first_bytes"]
    for attach in ((PUSH,), (RETURN,), (PUSH, RETURN)):
        loader = bench.loader(*(f"--attach={text}" for text in attach))
        loader.json("READY")
        assert victim.json("DONE", "run 50 1")["live_bytes"] != bare
        assert set(loader.json("COUNTERS", "read")["hits"].values()) == {50}
        loader.quit()
        assert victim.json("DONE", "run 50 1")["live_bytes"] == bare
    victim.quit()
    assert bench.status()["backend"] == "gum"
    assert bench.status()["missed"] == 0


def test_gum_comes_without_a_child_that_the_target_could_see(bench: test_runtime.Bench, frida: Path) -> None:
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    victim = bench.victim("--function=bench_push", env=bench.segment.target(**by_gum(frida)))
    victim.json("READY")
    assert not Path(f"/proc/{victim.pid}/task/{victim.pid}/children").read_text()
    victim.kill()
    loader.quit()


def test_gum_in_a_process_with_children(
    pitfalls: Path, segment: Segment, frida: Path  # noqa: F811
) -> None:
    """Children of fork, beside another thread, go on counting; those that execute bring gum anew."""
    pair = Pair(pitfalls, replace(segment, settings=by_gum(frida)), "er", "children", "1")
    try:
        wanted = pair.run()["counts"][PLAIN : PLAIN + 2]
        assert wanted == [1122, 1122]
        assert [counted[PLAIN : PLAIN + 2] for counted in pair.counters().values()] == [wanted] * 3
        assert (pair.status()["backend"], pair.status()["missed"]) == ("gum", 0)
    finally:
        pair.end()


def test_gum_with_threads(
    pitfalls: Path, segment: Segment, frida: Path, tmp_path: Path  # noqa: F811
) -> None:
    target = compile.program("target", tmp_path, "-pthread")
    loader = Program([pitfalls / "probes", pitfalls / "pitfalls.bpf.o", target, "-1", "er", "later"], segment.loader())
    try:
        assert loader.line() == "READY", loader.errors()
        for program in ("e_plain", "r_plain"):
            assert loader.ask(f"attach {program} {target} work") == "ATTACHED"
        subprocess.run([target, "5000", "6"], env=segment.target(**by_gum(frida)), check=True)
        for way, counted in loader.json("COUNTERS", "read").items():
            assert counted[PLAIN : PLAIN + 2] == [30000, 30000], way
        loader.quit()
    finally:
        loader.kill()
    status = json.loads(segment.status.read_text())
    assert (status["backend"], status["missed"], status["error"]) == ("gum", 0, None)


def test_gum_loses_probes_with_a_killed_loader(bench: test_runtime.Bench, frida: Path) -> None:
    victim = bench.victim("--function=bench_push", env=bench.segment.target(**by_gum(frida)))
    bare = victim.json("READY")["first_bytes"]
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    assert victim.json("DONE", "run 5 1")["live_bytes"] != bare
    loader.kill()
    eventually(lambda: bool(victim.json("DONE", "run 5 1")["live_bytes"] == bare), "the probe has gone")
    victim.quit()
