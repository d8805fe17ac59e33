"""Targets and loaders that are killed wherever they are: maps go on working, and nothing stays behind."""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path

import pytest

from .compile import LIBBPF, bpf_object, program
from .conftest import Segment
from .talk import Program, eventually

CALLS, THREADS = 150, 3


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the test programs are."""
    tree = tmp_path_factory.mktemp("kills")
    program("kills", tree, *LIBBPF)
    program("target", tree, "-fno-omit-frame-pointer", "-lpthread")
    bpf_object("kills", tree)
    return tree


def load(built: Path, segment: Segment) -> Program:
    loader = Program([built / "kills", built / "kills.bpf.o", built / "target"], segment.loader())
    assert loader.line() == "READY", loader.errors()
    return loader


def start(built: Path, segment: Segment) -> subprocess.Popen[bytes]:
    """Start a target that hits for as long as it lives."""
    return subprocess.Popen([built / "target", "1000000000", str(THREADS)], env=segment.target())


def kill_a_target(built: Path, segment: Segment, loader: Program, moment: float) -> None:
    target = start(built, segment)
    while loader.ask("read").endswith("records 0"):
        time.sleep(0.001)
    time.sleep(moment)
    target.kill()
    target.wait()


def all_is_well(built: Path, segment: Segment, loader: Program) -> None:
    """Every operation of a new target and of the loader works, every record arrives, every hit is counted."""
    assert loader.ask("reset") == "OK"
    subprocess.run([built / "target", str(CALLS), str(THREADS)], env=segment.target(), check=True)
    assert loader.ask("read") == f"records {CALLS * THREADS} good0 {CALLS * THREADS}"


def kill_targets(built: Path, segment: Segment, times: int) -> None:
    moments = random.Random(times)
    loader = load(built, segment)
    for _ in range(times):
        assert loader.ask("reset") == "OK"
        kill_a_target(built, segment, loader, moments.uniform(0, 0.02))
        all_is_well(built, segment, loader)
    loader.end_input()
    assert loader.process.wait() == 0
    assert not segment.file.exists()


def kill_loaders(built: Path, segment: Segment, times: int) -> None:
    """Each time the next loader, of the same segment, begins with maps of its own, whether a target lives on or not."""
    moments = random.Random(times)
    for number in range(times):
        loader = load(built, segment)
        target = start(built, segment)
        while loader.ask("read").endswith("records 0"):
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.02))
        loader.kill()
        if number % 2:
            target.kill()
            target.wait()
        following = load(built, segment)
        target.kill()
        target.wait()
        all_is_well(built, segment, following)
        following.end_input()
        assert following.process.wait() == 0
        assert not segment.file.exists()


def test_a_reader_who_never_waits_gets_past_what_a_dead_writer_left(built: Path, segment: Segment) -> None:
    """It had reserved a record, and then others came behind it."""
    loader = load(built, segment)
    target = subprocess.Popen([built / "target", "0", "1", "stay"], env=segment.target())
    eventually(lambda: loader.ask("read").startswith("waiting records 0"), "a record is reserved")
    subprocess.run([built / "target", str(CALLS), str(THREADS)], env=segment.target(), check=True)
    assert loader.ask("read") == f"waiting records 0 good0 {CALLS * THREADS}"
    target.kill()
    target.wait()
    all_is_well(built, segment, loader)
    loader.end_input()
    assert loader.process.wait() == 0


def test_a_program_ends_with_its_last_thread(built: Path, segment: Segment) -> None:
    """The first thread has left by pthread_exit; the agent's own thread keeps nobody from ending, nor the loader's."""
    loader = load(built, segment)
    argv = [built / "target", str(CALLS), str(THREADS), "leave"]
    assert subprocess.run(argv, env=segment.target(), timeout=20, check=False).returncode == 0
    assert loader.ask("read") == f"records {CALLS * THREADS} good0 {CALLS * THREADS}"
    loader.end_input(b"leave\n")
    assert loader.process.wait(20) == 0


def test_an_exec_without_the_agent_is_waited_for_by_nobody(built: Path, segment: Segment) -> None:
    """The process lives on, but what it was when it counted itself in does not hear that something is to be attached."""
    target = subprocess.Popen(["/bin/sh", "-c", "exec env -u LD_PRELOAD sleep 100"], env=segment.target())
    try:
        eventually(lambda: Path(f"/proc/{target.pid}/comm").read_text() == "sleep\n", "it is another program")
        assert segment.file.exists()
        loader = load(built, segment)
        all_is_well(built, segment, loader)
        loader.end_input()
        assert "did not answer" not in loader.errors()
        assert not segment.file.exists()
    finally:
        target.kill()
        target.wait()


def test_targets_killed_anywhere_leave_maps_that_work(built: Path, segment: Segment) -> None:
    kill_targets(built, segment, 40)


def test_loaders_killed_anywhere_leave_nothing(built: Path, segment: Segment) -> None:
    kill_loaders(built, segment, 4)


@pytest.mark.long  # a minute
def test_a_thousand_kills(built: Path, segment: Segment) -> None:
    for _ in range(9):  # with fresh maps: each kill may take one element of a hash with it, and the smallest has 64
        kill_targets(built, segment, 100)
    kill_loaders(built, segment, 100)
