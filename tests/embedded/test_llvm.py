"""LLVM as the engine of the runtime: every case exact, what is refused, and the pitfalls with its code."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from . import test_runtime
from .conftest import Segment, _build
from .test_pitfalls import Pair, exact
from .test_runtime import CASES, PUSH, Bench, expected, options_of

bench = test_runtime.bench
pytestmark = pytest.mark.skipif(shutil.which("llvm-config-14") is None, reason="not installed: llvm-14-dev")


@pytest.fixture(scope="session")
def llvm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings that ask for LLVM, with a library built for this session."""
    tree = _build("embedded-llvm", tmp_path_factory)
    return {"EMBEDDED_ENGINE": "llvm", "EMBEDDED_LLVM": str(tree / "llvm.so")}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_every_case_of_the_uprobe_experiment_counts_exactly(
    bench: Bench, case: Mapping[str, Any], llvm: dict[str, str]
) -> None:
    loader_options, victim_options = options_of(case)
    loader = bench.loader(*loader_options)
    loader.json("READY")
    victim = bench.victim(*victim_options, env=bench.segment.target(**llvm))
    victim.json("READY")
    done = victim.json("DONE", "run 10 3")
    victim.quit()
    assert loader.json("COUNTERS", "read") == expected(case, 30)
    loader.quit()
    if "writes" in case["params"]:
        assert done["buffer"].startswith(case["params"]["writes"].encode().hex())
    status = bench.status()
    assert (status["engine"], status["error"]) == ("llvm", None)
    assert all(program["engine"] == "llvm" and program["code_size"] > 0 for program in status["programs"])


def code_size(bench: Bench, settings: Mapping[str, str]) -> int:
    """Attach one program and return how long the loader says that its code is."""
    loader = bench.loader(f"--attach={PUSH}", env=bench.segment.loader(**settings))
    size: int = loader.json("READY")["programs"][0]["jited_length"]
    loader.quit()
    return size


def test_the_loader_tells_the_length_of_the_code_of_its_own_engine_only(bench: Bench, llvm: dict[str, str]) -> None:
    jit = code_size(bench, {})
    assert jit > 0
    assert code_size(bench, llvm) not in (0, jit)
    assert not code_size(bench, {"EMBEDDED_ENGINE": "llvm"}), "it has no LLVM, and the JIT's code is not what runs"


@pytest.mark.parametrize(
    ("library", "says"),
    [
        (None, "engine llvm: EMBEDDED_LLVM names no library with it"),
        ("/nowhere/llvm.so", "engine llvm: /nowhere/llvm.so: cannot open shared object file"),
        ("agent.so", "undefined symbol: eb_engine_library"),
    ],
)
def test_without_the_library_nothing_is_attached_and_the_status_says_why(
    bench: Bench, library: str | None, says: str
) -> None:
    settings = {"EMBEDDED_ENGINE": "llvm", "EMBEDDED_LOG": "none"}
    if library:
        settings["EMBEDDED_LLVM"] = str(bench.segment.runtime / library)  # an absolute one stays what it is
    loader = bench.loader(f"--attach={PUSH}")
    loader.json("READY")
    victim = bench.victim("--function=bench_push", env=bench.segment.target(**settings))
    bare = victim.json("READY")["first_bytes"]
    assert victim.json("DONE", "run 5 1")["live_bytes"] == bare
    victim.quit()
    assert loader.json("COUNTERS", "read")["hits"] == {"at_entry": 0}
    assert says in bench.status()["error"]
    assert bench.status()["programs"] == []


@pytest.mark.parametrize(("case", "much"), [("storm", "2000"), ("children", "4"), ("thread_ends", "50")])
def test_the_pitfalls_have_exact_counts(
    pitfalls: Path, segment: Segment, llvm: dict[str, str], case: str, much: str
) -> None:
    pair = Pair(pitfalls, replace(segment, settings=llvm), "er", case, much)
    try:
        exact(pair)
        assert {program["engine"] for program in pair.status()["programs"]} == {"llvm"}
    finally:
        pair.end()
