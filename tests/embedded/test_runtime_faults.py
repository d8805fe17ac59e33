"""Programs that read bad addresses get an error; the application's own faults stay the application's."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from .compile import LIBBPF, bpf_object, program
from .conftest import Segment
from .talk import Program

CALLS = 100 * 7


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("faults")
    program("events", tree, *LIBBPF)
    program("faults", tree, "-lpthread")
    bpf_object("events", tree)
    return tree


@pytest.mark.parametrize("argument", ["live", "die"])
def test_faults_of_programs_and_of_the_application_do_not_mix(
    built: Path, segment: Segment, argument: str
) -> None:
    bare = subprocess.run([built / "faults", argument], capture_output=True, text=True, check=False)
    loader = Program([built / "events", built / "events.bpf.o", built / "faults"], segment.loader())
    assert loader.line() == "READY", loader.errors()
    probed = subprocess.run(
        [built / "faults", argument], env=segment.target(), capture_output=True, text=True, check=False
    )
    assert "handler is ours: 1, segv 3, bus 3, with address 3" in probed.stdout
    assert (probed.returncode, probed.stdout) == (bare.returncode, bare.stdout)
    assert probed.returncode == (-signal.SIGSEGV if argument == "die" else 0)
    loader.end_input()
    lines = []
    while line := loader.line():
        lines.append(line)
    received = [line for line in lines if line.startswith("event ")]
    dropped = int(next(line for line in lines if line.startswith("result 0: ")).split(": ")[1])
    assert len(received) + dropped == CALLS, "every call was a hit"
    assert received
    assert all(" bad -14 " in line for line in received)
    assert "result 1: 0" in lines, "a failed read clears what it was to fill"
