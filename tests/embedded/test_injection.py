"""The agent brought into processes that run already: exact counts, detaching, and a target that goes on as before."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .conftest import Segment
from .talk import Program, eventually, text_of

PTRACE_SEIZE, PTRACE_DETACH = 0x4206, 17
IN_SIGNAL = 10


class Place:
    """Starts bare targets, brings the agent into them, and loaders; ends them with the test."""

    def __init__(self, programs: Path, segment: Segment) -> None:
        self.programs, self.segment = programs, segment
        self._started: list[Program] = []

    def target(self, *case: str) -> Program:
        """Start a target without the agent, which waits for a line."""
        started = Program([self.programs / "pitfalls", *case], {"PATH": os.environ["PATH"]})
        self._started.append(started)
        started.json("READY")
        return started

    def loader(self, pid: int, letters: str = "er") -> Program:
        files = [self.programs / "probes", self.programs / "pitfalls.bpf.o", self.programs / "pitfalls"]
        loader = Program([*files, str(pid), letters], self.segment.loader())
        self._started.append(loader)
        assert loader.line() == "READY", loader.errors()
        return loader

    def inject(self, pid: int | str, library: Path | None = None) -> subprocess.CompletedProcess[str]:
        settings = {"EMBEDDED_SEGMENT": self.segment.name, "EMBEDDED_STATUS": f"{self.segment.work}/status.%p"}
        argv: list[str | Path] = [self.segment.runtime / "inject", str(pid), library or self.segment.runtime / "agent.so"]
        return subprocess.run(argv, env=settings, capture_output=True, text=True, timeout=60, check=False)

    def must_inject(self, pid: int) -> None:
        done = self.inject(pid)
        if "tracing is not allowed here" in done.stderr or "ptrace_scope" in done.stderr:
            pytest.skip(f"other processes must not be traced here: {done.stderr}")
        assert done.returncode == 0, done.stderr

    def end(self) -> None:
        for program in self._started:
            if program.process.poll() is None:
                program.kill()


@pytest.fixture
def place(pitfalls: Path, segment: Segment) -> Iterator[Place]:
    place = Place(pitfalls, segment)
    yield place
    place.end()


def go(target: Program) -> list[int]:
    """Let it do its case, see it end well, and return the counts that it expects."""
    assert target.process.stdin is not None
    target.process.stdin.write(b"go\n")
    line = target.line(deadline=60)
    assert line.startswith("EXPECTED "), target.errors()
    target.end_input()
    assert target.process.wait(20) == 0
    counts: list[int] = json.loads(line.removeprefix("EXPECTED "))["counts"]
    return counts


@pytest.mark.parametrize("waits", ["read", "epoll", "join"])
def test_exact_counts_in_a_process_that_ran_before(place: Place, waits: str) -> None:
    """An interrupted wait goes on: with EINTR, or without its thread, the target would fail."""
    target = place.target("storm", "4000", waits)
    place.must_inject(target.pid)
    loader = place.loader(target.pid)
    expected = go(target)
    assert sum(expected) > 10_000
    for way, counted in loader.json("COUNTERS", "read").items():
        assert counted == expected, way
    loader.quit()
    status = json.loads((place.segment.work / f"status.{target.pid}").read_text())
    assert (status["missed"], status["ended"], status["error"]) == (0, True, None)
    assert not place.segment.file.exists()


def all_hit(loader: Program) -> bool:
    """Say whether the two functions of all threads have been hit, and have returned."""
    return all(loader.json("COUNTERS", "read")["hash"][IN_SIGNAL : IN_SIGNAL + 4])


def test_attaching_to_threads_that_run_and_letting_them_go(place: Place) -> None:
    """Its text is what it was when the loader has gone, and it computes what it always did."""
    target = place.target("load", "0")
    assert target.process.stdin is not None
    target.process.stdin.write(b"go\n")
    eventually(lambda: len(list(Path(f"/proc/{target.pid}/task").iterdir())) == 5, "its threads run")
    file = place.programs / "pitfalls"
    bare = text_of(target.pid, file)
    place.must_inject(target.pid)
    for _ in range(3):
        loader = place.loader(target.pid)
        assert text_of(target.pid, file) != bare
        eventually(partial(all_hit, loader), "hits")
        loader.quit()
        assert text_of(target.pid, file) == bare
    target.end_input(b"stop\n")
    assert target.line().startswith("EXPECTED ")
    assert target.process.wait(20) == 0


def test_a_pid_is_one_process_alone(place: Place) -> None:
    targets = [place.target("storm", "3000") for _ in range(2)]
    for target in targets:
        place.must_inject(target.pid)
    loader = place.loader(targets[1].pid)
    go(targets[0])
    assert not any(loader.json("COUNTERS", "read")["atomic"])
    expected = go(targets[1])
    assert loader.json("COUNTERS", "read")["atomic"] == expected
    loader.quit()


# --- refused, with the reason, and the target lives on -----------------------------------------------------


def refused(place: Place, pid: int | str, why: str, library: Path | None = None) -> None:
    done = place.inject(pid, library)
    assert done.returncode == 1
    assert re.search(why, done.stderr), done.stderr


def test_what_is_no_process_or_no_library(place: Place, tmp_path: Path) -> None:
    target = place.target("children", "1")
    broken = tmp_path / "broken.so"
    broken.write_text("no library")
    refused(place, 999_999_999, "there is no process")
    refused(place, "12x", "usage")
    refused(place, target.pid, "No such file", tmp_path / "nothing")
    refused(place, target.pid, "did not load .*(invalid ELF header|file too short)", broken)
    place.must_inject(target.pid)
    refused(place, target.pid, "at work there already")
    go(target)


def test_a_process_that_is_traced(place: Place) -> None:
    target = place.target("storm", "3000")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, target.pid, None, None):
        pytest.skip(f"other processes must not be traced here: {os.strerror(ctypes.get_errno())}")
    refused(place, target.pid, f"process {os.getpid()} traces it already")
    libc.ptrace(0x4207, target.pid, None, None)  # PTRACE_INTERRUPT: only who is stopped can be let go
    os.waitid(os.P_PID, target.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    libc.ptrace(PTRACE_DETACH, target.pid, None, None)
    go(target)


def test_a_program_that_is_linked_statically(place: Place, tmp_path: Path) -> None:
    text = "#include <stdio.h>\nint main(void) { puts(\"READY\"); fflush(stdout); return getchar() == 'x'; }"
    (tmp_path / "static.c").write_text(text)
    argv: list[str | Path] = ["gcc", "-static", tmp_path / "static.c", "-o", tmp_path / "static"]
    made = subprocess.run(argv, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("there is no libc to link statically with")
    target = Program([tmp_path / "static"], {})
    assert target.line() == "READY"
    refused(place, target.pid, "it is linked statically")
    target.end_input(b"y")
    assert target.process.wait(10) == 0


needs_another_user = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, to be somebody else"
)


@needs_another_user
def test_another_users_process_and_one_that_keeps_secrets(place: Place) -> None:
    work = Path(tempfile.mkdtemp(prefix="embedded-test-"))
    try:
        work.chmod(0o755)
        for file in (place.programs / "pitfalls", place.segment.runtime / "inject", place.segment.runtime / "agent.so"):
            shutil.copy2(file, work)
        somebody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        secret = Program([*somebody, work / "pitfalls", "storm", "3000", "secret"], {"PATH": os.environ["PATH"]})
        secret.json("READY")
        eventually(lambda: Path(f"/proc/{secret.pid}/syscall").read_text().startswith("0 "), "it waits")
        other = place.target("storm", "3000")
        for target, why in ((other, r"another user's \(uid 0\)"), (secret, "not dumpable")):
            argv: list[str | Path] = [*somebody, work / "inject", str(target.pid), work / "agent.so"]
            done = subprocess.run(argv, env={"EMBEDDED_SEGMENT": "none"}, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert re.search(why, done.stderr), done.stderr
            go(target)
    finally:
        shutil.rmtree(work)


@pytest.mark.long  # waits for five seconds, in vain
def test_a_process_that_makes_no_system_call(place: Place) -> None:
    target = place.target("load", "0", "busy")
    refused(place, target.pid, "made no system call in 5 s")
    assert target.process.poll() is None
