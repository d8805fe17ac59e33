"""System calls as tracepoints, raw tracepoints, calls and functions answered by a program instead of made."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from .compile import LIBBPF, bpf_object, program
from .conftest import Segment
from .talk import Program


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("syscalls")
    program("syscalls", tree, *LIBBPF)
    program("caller", tree, "-lpthread")
    bpf_object("syscalls", tree)
    return tree


def test_system_calls_of_threads_and_children_are_counted_exactly(built: Path, segment: Segment) -> None:
    loader = Program([built / "syscalls", built / "syscalls.bpf.o", built / "caller"], segment.loader())
    assert loader.line() == "READY", loader.errors()
    argv = [str(built / "caller"), "500"]
    ran = subprocess.run(argv, env=segment.target(), capture_output=True, text=True, check=True)
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
    assert all(link["attached"] for link in status["programs"])
    (override,) = (p for p in status["programs"] if p["program"] == "override_work")
    assert override["verification"] in ("kernel, helpers substituted", "unverified")
