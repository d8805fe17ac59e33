"""System calls as tracepoints, raw tracepoints, calls and functions answered by a program instead of made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, Segment
from .talk import Program

TESTS = ROOT / "embedded/runtime/tests"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("syscalls")
    flags = ["-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["gcc", *flags, TESTS / "syscalls.c", "-o", tree / "syscalls", "-l:libbpf.a", "-lelf", "-lz"], check=True)
    subprocess.run(["gcc", *flags, TESTS / "caller.c", "-o", tree / "caller", "-lpthread"], check=True)
    include = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    subprocess.run(
        ["clang", "-target", "bpf", "-O2", "-g", "-mcpu=v3", f"-I/usr/include/{include}", "-c",
         TESTS / "syscalls.bpf.c", "-o", tree / "syscalls.bpf.o"],
        check=True,
    )
    return tree


def test_system_calls_of_threads_and_children_are_counted_exactly(built: Path, segment: Segment) -> None:
    loader = Program([built / "syscalls", built / "syscalls.bpf.o", built / "caller"], segment.loader())
    assert loader.line() == "READY", loader.errors()
    ran = subprocess.run([built / "caller", "500"], env=segment.target(), capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines() == [
        "group is ours: 1", "priority 99", "no such process: -1 errno 3", "answer 4242",
    ], "what is not skipped is made, with its result and errno"
    loader.end_input()
    results = {}
    while line := loader.line():
        name, _, value = line.partition(": ")
        results[int(name.removeprefix("result "))] = int(value)
    calls = 500 * 6 + 2
    number = 121
    assert results[0] == results[3] == results[5] == results[7] == calls
    assert results[1] == 0x3FFFFFFF, "arguments"
    assert results[2] == number * calls
    assert results[4] == results[6], "results"
    assert results[8] == 1
    status = json.loads(segment.status.read_text())
    assert all(program["attached"] for program in status["programs"])
    (override,) = (p for p in status["programs"] if p["program"] == "override_work")
    assert override["verification"] in ("kernel, helpers substituted", "unverified")
