from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

import bpfbench
from bpfbench.process import forkserver
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.reaper import Reaper

PATIENCE = 20.0
"""Seconds until a test gives up: generous, because the machine may be busy."""

TREE = """
import os, signal, sys, time
directory = sys.argv[1]

def note(deaf):
    if deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open(f"{directory}/{os.getpid()}", "w").close()

def live():
    while True:
        time.sleep(1000)

def fork(first=None, deaf=False):
    if os.fork() == 0:
        if first:
            first()
        note(deaf)
        live()

def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)

def worker():
    fork(deaf=True)

note(False)
fork(worker)
fork(daemon, deaf=True)
while len([name for name in os.listdir(directory) if name.isdecimal()]) < 4:
    time.sleep(0.005)
print("READY", flush=True)
live()
"""
"""A command with a child, a grandchild that ignores TERM, and a daemon that does so in its own session."""


@pytest.fixture
def mark() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def reaper(mark: str) -> Iterator[Reaper]:
    with Reaper(mark) as reaper:
        yield reaper


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Command]:
    """Makes a command of a shell script."""
    return lambda script, name="sh", **more: command("/bin/sh", "-c", script, name=name, cwd=tmp_path, **more)


@pytest.fixture
def tree(tmp_path: Path) -> tuple[Command, Path]:
    """A command that starts a tree, and the directory where its processes leave their pids."""
    pids = tmp_path / "pids"
    pids.mkdir()
    return tree_command(pids), pids


def tree_command(pids: Path) -> Command:
    return python(TREE, str(pids), name="tree")


def command(*argv: str, name: str = "child", cwd: Path = Path("/"), **more: object) -> Command:
    return Command(argv, minimal_env("/nowhere"), cwd, name, **more)  # type: ignore[arg-type]


def python(script: str, *args: str, **more: object) -> Command:
    """A command of a Python script, started quickly."""
    return command(sys.executable, "-I", "-S", "-c", script, *args, **more)  # type: ignore[arg-type]


def with_package() -> dict[str, str]:
    """An environment in which a Python process finds the package under test."""
    return {**os.environ, "PYTHONPATH": str(Path(bpfbench.__file__).parents[1])}


def members(pids: Path) -> list[forkserver.Process]:
    """The living processes that left their pids in a directory."""
    found = [forkserver.look(int(path.name)) for path in pids.iterdir() if path.name.isdecimal()]
    return [process for process in found if process and not process.zombie]


def alive(processes: Iterable[forkserver.Process]) -> list[int]:
    """Those that still live: the very same ones, not others with their numbers."""
    now = ((process, forkserver.look(process.pid)) for process in processes)
    return [was.pid for was, seen in now if seen and seen.start == was.start and not seen.zombie]


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for a condition; fail when it does not come true in a long time."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited in vain: {what}"
        time.sleep(0.01)


def until_gone(processes: Iterable[forkserver.Process]) -> None:
    processes = list(processes)
    assert processes, "there must have been something to be gone"
    until(lambda: not alive(processes), f"end of {alive(processes)}")
