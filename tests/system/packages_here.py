"""What tests of third-party packages share: the checkout in which they are built, what was built, servers that end."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfbench.store.store import Item, Store
from bpfbench.store.tree import delete

from .packages import ROOT, Place

Tree = Callable[[str], Path]
Run = Callable[..., subprocess.Popen[str]]
SOON = 20.0


@pytest.fixture(scope="session")
def first() -> Iterator[Place]:
    """A checkout of its own that uses this checkout's store: what is there already is not built again."""
    top = Path(tempfile.mkdtemp(prefix="bpfbench-test-"))
    yield Place(top / "checkout", Store(ROOT / "vendor" / "store")).make()
    delete(top)


@pytest.fixture(scope="session")
def items(first: Place) -> Callable[[str], Item]:
    """Return what builds a package by doit, as a user would, and returns it from the store."""
    known: dict[str, Item | str] = {}

    def get(name: str) -> Item:
        if name not in known:
            known[name] = first.fetch(name) or first.build(name)
        found = known[name]
        if isinstance(found, str):
            pytest.skip(found)
        return found

    return get


@pytest.fixture
def tree(items: Callable[[str], Item]) -> Tree:
    """Return what returns the output tree of a package."""
    return lambda name: items(name).tree


@pytest.fixture
def run() -> Iterator[Run]:
    """Start servers that end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: object, **options: Any) -> subprocess.Popen[str]:
        process: subprocess.Popen[str] = subprocess.Popen(
            list(map(str, argv)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options
        )
        started.append(process)
        return process

    yield start
    for process in reversed(started):
        process.terminate()
        try:
            process.wait(SOON)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def say(*argv: object, **options: Any) -> str:
    done = subprocess.run(
        list(map(str, argv)), capture_output=True, text=True, check=False, timeout=120, **options
    )
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout}{done.stderr}"
    return str(done.stdout)


def until(happened: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    end = time.monotonic() + SOON
    while not happened():
        if process and process.poll() is not None:
            pytest.fail(f"ended with {process.returncode}: {process.stdout.read() if process.stdout else ''}")
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
