"""Sources from where they really come: the machine's own Debian archive and Python package index, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bpfbench.context import Context
from bpfbench.fetch.errors import Unavailable
from bpfbench.fetch.reach import Reach
from bpfbench.fetch.tools import Tools
from bpfbench.fetching import fetch_step, locked, unavailable
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.model.types import Source, Words

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
SOURCES = load(Layout.of(ROOT)).sources


def quiet(note: str, *, done: int = 0, total: int = 0) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One state for all tests: apt's lists are read once."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture
def tools(state: Path, tmp_path: Path) -> Iterator[Tools]:
    tools = Tools(
        "bpfbench-test-real", tmp_path / "logs", tmp_path / "downloads", state / "cache", tmp_path / "work", quiet,
        Reach(state / "availability"),
    )  # fmt: skip
    with tools:
        yield tools


def only(source: Source, method: str) -> Source:
    """Return a source with its origins of one method."""
    pinned = replace(locked(source), pins=tuple(pin for pin in locked(source).pins if pin.method == method))
    return replace(source, origins=tuple(o for o in source.origins if o.method == method), locked=pinned)


CASES = [(name, o.method) for name, source in SOURCES.items() for o in source.origins if o.method in ("debian", "pypi")]


@pytest.mark.parametrize(("name", "method"), CASES)
def test_a_source_comes_with_the_locked_tree(name: str, method: str, state: Path) -> None:
    if method == "debian" and shutil.which("apt-get") is None:
        pytest.skip("no apt here")
    source = only(SOURCES[name], method)
    context = Context(Layout.of(state / "checkout"), replace(load(Layout.of(ROOT)), sources={name: source}), Words("quick"), ROOT)
    item = fetch_step(context, source).run(quiet)  # type: ignore[arg-type]
    if item is None:
        pytest.skip(str(unavailable(context, name)))
    assert item.hash == locked(source).hash
    assert item.meta["origin"].startswith(method)
    assert not (state / "checkout" / ".bench/downloads").exists() or not any((state / "checkout/.bench/downloads").iterdir())


@pytest.mark.parametrize("name", [name for name, source in SOURCES.items() if any(o.method == "archive" for o in source.origins)])
def test_the_projects_own_archive_is_known_to_be_the_same_file(name: str) -> None:
    """Where it cannot be reached, its SHA-256 is that of the Debian tarball that was fetched."""
    hashes = {pin.fields["sha256"] for pin in locked(SOURCES[name]).pins}
    assert len(hashes) == 1 and {pin.method for pin in locked(SOURCES[name]).pins} == {"archive", "debian"}


def unreachable(obtain: Callable[[], object]) -> str:
    with pytest.raises(Unavailable) as caught:
        obtain()
    return str(caught.value)


def test_what_the_archive_does_not_have_is_told_with_what_it_has(tools: Tools, tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt here")
    from bpfbench.fetch import debian

    (tmp_path / "tree").mkdir()
    fields = {"package": "wrk", "file": "wrk_0.0.orig.tar.gz"}
    told = unreachable(lambda: debian.obtain(fields, "0.0", tmp_path / "tree", tools))
    if "out of reach" in told or "cannot be read" in told:
        pytest.skip(told)
    assert "it has wrk_" in told
