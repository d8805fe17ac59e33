"""Fixtures of tests that use third-party packages: the checkout in which they are built, and what was built."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfbench.store.store import Item, Store
from bpfbench.store.tree import delete

from .packages import ROOT, Place

Tree = Callable[[str], Path]


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
