"""Checkouts in which third-party packages are built by doit, as a user would, for tests of them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bpfbench.fetching import source_key
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.model.types import Model
from bpfbench.store.pointers import read as read_pointer
from bpfbench.store.store import Item, Store

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 3600.0
OUT_OF_REACH = "no origin is in reach"
_PARTS = ("bpfbench", "tasks", "specs", "schemas", "workloads", "embedded", "requirements")


@functools.cache
def model() -> Model:
    """Return what this checkout's specs say."""
    return load(Layout.of(ROOT))


def third_party() -> list[str]:
    """Return the names of the packages that are made from sources of others, or with what is."""
    return [package.name for package in model().packages.values() if package.sources or package.depends]


def python() -> str:
    """Return the interpreter of an environment in which our doit commands are installed."""
    own = ROOT / ".venv" / "bin" / "python"
    return str(own) if own.exists() else sys.executable


def with_dependencies(name: str) -> list[str]:
    """Return the package and all that it is made from."""
    found = [name]
    for other in model().packages[name].depends:
        found += with_dependencies(other)
    return list(dict.fromkeys(found))


def sources_of(name: str) -> list[str]:
    """Return the sources of a package and of all that it is made from."""
    found = (source for package in with_dependencies(name) for source in model().packages[package].sources)
    return list(dict.fromkeys(found))


@dataclass(frozen=True)
class Place:
    """A copy of this checkout, whose doit does not stand in the way of one that runs in the original."""

    root: Path
    store: Store
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    wrap: tuple[str, ...] = ()
    interpreter: str = field(default_factory=python)

    def make(self) -> Place:
        """Copy what doit needs."""
        (self.root / "vendor").mkdir(parents=True)
        shutil.copy(ROOT / "vendor" / "sources.lock.json", self.root / "vendor")
        shutil.copy(ROOT / "dodo.py", self.root)
        for name in _PARTS:
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        return self

    def doit(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run doit to its end."""
        command = [*self.wrap, self.interpreter, "-m", "doit", *words, f"store={self.store.root}"]
        return subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=DEADLINE,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def fetch(self, name: str) -> str | None:
        """Fetch all that a package is made from; return why not if that is out of reach."""
        if not sources_of(name):
            return None  # and doit without a word would do everything
        fetched = self.doit(*(f"fetch_{source}" for source in sources_of(name)))
        said = fetched.stdout + fetched.stderr
        if fetched.returncode != 0 and OUT_OF_REACH in said:
            return "its sources are out of reach from here"
        assert fetched.returncode == 0, said
        return None

    def build(self, name: str, *words: str) -> Item:
        """Build a package and return its item."""
        done = self.doit(f"build_{name}", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        pointer = read_pointer(self.root / ".bench" / "pointers" / f"build_{name}.json")
        item = self.store.find(pointer.item) if pointer else None
        assert item, f"build_{name} has made no item:\n{done.stdout}{done.stderr}"
        return item

    def source(self, name: str) -> Path:
        """Return the tree of a source that was fetched."""
        locked = model().sources[name].locked
        assert locked
        item = self.store.find(source_key(name, locked.hash))
        assert item, f"{name} was not fetched"
        return item.tree
