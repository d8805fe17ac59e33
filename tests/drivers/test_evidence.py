"""What a runtime's log proves, and what speaks against a sample."""

import json
from dataclasses import replace

import pytest

from bpfbench.drivers.evidence import of_kernel, of_log, of_status
from bpfbench.model.types import Log

TARGETS = ("{work}/target/run.log", "{work}/target/out")
LOG = Log(("{work}/loader/run.log",), TARGETS, r"\[(error|critical)\]", "Attached all", r"engine: (\S+)")
LOADER = "[info][7] engine: fast\n[info][7] serving\n"
TARGET = "[info][8] engine: fast\n[info][8] Attached all\n"


def evidence(work, loader=LOADER, target=TARGET):
    for side, text in (("loader", loader), ("target", target)):
        if text is not None:
            (work / side).mkdir()
            (work / side / "run.log").write_text(text)
            (work / side / "out").write_text("READY {}\n")
    return of_log(LOG, work, "hook")


def test_a_good_log_proves_engine_and_backend(tmp_path):
    found = evidence(tmp_path)
    assert (found.engine, found.backend, found.wrong) == ("fast", "hook", None)


def test_an_error_on_either_side_is_told_in_its_own_words(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert "target's log says: [error] no engine" in evidence(tmp_path / "a", target=TARGET + "[error][8] no engine\n").wrong
    assert "loader's log says: [critical] no memory" in evidence(tmp_path / "b", loader="[critical][7] no memory\n").wrong


def test_without_readiness_nothing_is_proved(tmp_path):
    found = evidence(tmp_path, target="[info][8] engine: fast\n")
    assert "does not say that anything was attached" in found.wrong
    assert found.engine is None


@pytest.mark.parametrize(
    ("loader", "target", "told"),
    [
        (LOADER, "Attached all\n", "the loader's fast and the target's none"),
        (LOADER, f"{TARGET}engine: slow\n", "the target's fast and slow"),
        (LOADER.replace("fast", "slow"), TARGET, "the loader's slow and the target's fast"),
    ],
)
def test_both_sides_must_name_the_same_engine(tmp_path, loader, target, told):
    assert told in evidence(tmp_path, loader, target).wrong


def test_the_same_engine_may_be_named_twice(tmp_path):
    assert evidence(tmp_path, target=TARGET + "engine: fast\n").wrong is None


def test_a_log_that_is_not_there_proves_nothing(tmp_path):
    assert "the target's log cannot be read" in evidence(tmp_path, target=None).wrong


def status(work, engine="llvm", **more):
    listed = [{"program": "p", "engine": engine, "verification": "kernel", "error": None}]
    told = {"engine": "llvm", "backend": "gum", "missed": 0, "error": None, "programs": listed, **more}
    (work / "status.json").write_text(json.dumps(told))
    return of_status(work / "status.json")


def test_a_status_proves_engine_and_backend(tmp_path):
    found = status(tmp_path)
    assert (found.engine, found.backend, found.wrong) == ("llvm", "gum", None)


def test_a_status_says_who_has_verified_the_programs(tmp_path):
    assert status(tmp_path).details == {"verification": ["kernel"]}
    bare = {"program": "q", "verification": "unverified", "verification_reason": "not permitted", "error": None}
    listed = [{"program": "p", "verification": "kernel", "error": None}, bare]
    found = status(tmp_path, programs=listed)
    assert found.wrong is None
    assert found.details == {"verification": ["kernel", "unverified"], "unverified_because": ["not permitted"]}
    assert status(tmp_path, programs=[{"program": "p", "error": None}]).details == {"verification": []}


def test_the_kernel_runs_nothing_unverified():
    assert of_kernel({"programs": [{"jited_length": 80}]}, "kernel-uprobe").details == {"verification": ["kernel"]}


def test_what_speaks_against_a_status(tmp_path):
    assert "programs were compiled by jit" in status(tmp_path, engine="jit").wrong
    assert status(tmp_path, error="no gum").wrong == "no gum"
    assert "missed 3 hits" in status(tmp_path, missed=3).wrong
    assert "attached no program" in status(tmp_path, programs=[]).wrong
    assert status(tmp_path, programs=[{"program": "p", "error": "no such function"}]).wrong == "no such function"


def test_what_the_engine_cannot_run_is_told_apart_from_what_went_wrong(tmp_path):
    unable = replace(LOG, unable="unknown opcode")
    evidence(tmp_path, target=TARGET + "[2026-01-02 03:04:05][error][8] unknown opcode 0xdb at 3\n")
    found = of_log(unable, tmp_path, "hook")
    assert (found.wrong, found.unable) == (None, "the target's log says: [error] unknown opcode 0xdb at 3")
    assert of_log(LOG, tmp_path, "hook").wrong == found.unable
