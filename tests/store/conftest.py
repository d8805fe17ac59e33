"""Fixtures of the store's tests."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfbench.store.keys import Key, make_key
from bpfbench.store.store import Store

from .breaking import Children, Line, mount, need_root, private_mounts


@pytest.fixture
def children() -> Iterator[Children]:
    family = Children()
    yield family
    for pid in list(family.pids):
        os.kill(pid, signal.SIGKILL)
        family.end(pid)


@pytest.fixture
def line() -> Iterator[Callable[[], Line]]:
    lines: list[Line] = []

    def make() -> Line:
        lines.append(Line())
        return lines[-1]

    yield make
    for each in lines:
        each.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def key() -> Key:
    return make_key("thing", {"recipe": "test", "version": 1})


@pytest.fixture
def public(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A directory that every user may enter and write; pytest's own ones are private."""
    need_root()
    path = Path(tempfile.mkdtemp(prefix="bpfbench-test-"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def full_disk(tmp_path: Path, children: Children) -> Callable[[Callable[[Path], Any]], int]:
    """Run something in a child on a file system of 256 KiB; return the child's exit status."""
    need_root()
    place = tmp_path / "small"
    place.mkdir()

    def run(work: Callable[[Path], Any]) -> int:
        def child() -> None:
            private_mounts()
            mount("tmpfs", place, "tmpfs", options="size=256k")
            work(place)

        return children.run(child)

    return run
