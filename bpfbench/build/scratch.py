"""The directory that a third-party build works in, and the environment that it sees.

``<name>/`` is a writable copy of each source, ``depends/<name>`` leads to each dependency's output tree,
``work/`` is for builds outside their sources, ``tools/`` comes first on PATH.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from bpfbench.build.invoke import environment as plain_environment
from bpfbench.errors import BenchError
from bpfbench.model.types import Package
from bpfbench.store import tree as trees

_PLACEHOLDER = re.compile(r"\{(jobs|build|(?:package|source):[a-z0-9_-]+)\}")
_RESERVED = {"depends", "work", "tools", "watch", "tmp", "install"}
_OLD = (1, 1)
"""Modification time of every file: none is newer than another, so nothing generated is generated again."""


def prepare(place: Path, package: Package, sources: Mapping[str, Path], depends: Mapping[str, Path]) -> Path:
    """Make the directory and return its real path. Raises ``BenchError`` for a source that cannot be used."""
    place.mkdir(parents=True)
    place = place.resolve()
    if ":" in str(place):
        hint = "use a store elsewhere: store=/path"
        raise BenchError(f"{place}: a colon in the path cuts PATH in two", hint=hint)
    for name, tree in sources.items():
        if name in _RESERVED:
            raise BenchError(f"{package.location}: a source that is built cannot be called {name}")
        _copy_in(tree, place / name)
    for name in ("depends", "work", "tmp"):
        (place / name).mkdir()
    for name, tree in depends.items():
        (place / "depends" / name).symlink_to(tree.resolve())
    for path, text in package.options.get("write", {}).items():
        file = place / inside(package, path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return place


def environment(place: Path) -> dict[str, str]:
    """Return the whole environment of a build's commands."""
    plain = plain_environment()
    programs = [place / "tools", *sorted((place / "depends").glob("*/bin"))]
    return {
        **plain,
        "PATH": ":".join([*map(str, programs), plain["PATH"]]),
        "TMPDIR": str(place / "tmp"),
        "TZ": "UTC",
        # Meson and others decode what they read by the locale; C.UTF-8 sorts as C does.
        "LC_ALL": "C.UTF-8",
        # The store may lie within a checkout, whose revision is not that of the package.
        "GIT_DIR": "/nonexistent",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        # Where the network cannot be cut off, this stops the usual ways of fetching something.
        **dict.fromkeys(("http_proxy", "https_proxy", "ftp_proxy"), "http://127.0.0.1:9"),
    }


def filler(place: Path, cwd: Path, package: Package, jobs: int) -> Callable[[str], str]:
    """Return what replaces placeholders in the words of a command that runs in ``cwd``."""

    def stands_for(found: re.Match[str]) -> str:
        kind, _, name = found[1].partition(":")
        if kind == "jobs":
            return str(jobs)
        known = {"package": package.depends, "source": package.sources}.get(kind, ())
        if kind != "build" and name not in known:
            raise BenchError(f"{package.location}: {found[0]} is not among the {kind}s of {package.name}")
        target = {"package": place / "depends" / name, "source": place / name, "build": place}[kind]
        # Relative, because a path with a space in it breaks most makefiles.
        return os.path.relpath(target, cwd)

    return lambda word: _PLACEHOLDER.sub(stands_for, word)


def inside(package: Package, path: str) -> str:
    """Return ``path`` if it stays where it starts. Raises ``BenchError`` otherwise."""
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise BenchError(f"{package.location}: {path!r} is no path below the build's directory, without ..")
    return path


def remove(place: Path) -> None:
    """Delete the directory, whatever modes the build gave to what is in it."""
    trees.delete(place)


def _copy_in(source: Path, target: Path) -> None:
    if not source.is_dir():
        raise BenchError(f"the source {source} is not a directory")
    shutil.copytree(source, target, symlinks=True, copy_function=_copy)
    for directory, _, _ in os.walk(target):
        os.chmod(directory, 0o755)  # noqa: PTH101 - thousands of them


def _copy(source: str, target: str) -> None:
    # Without attributes: how old a file is, and whose, must not matter.
    shutil.copyfile(source, target, follow_symlinks=False)
    if not os.path.islink(target):  # noqa: PTH114
        os.chmod(target, 0o755 if os.access(source, os.X_OK) else 0o644)  # noqa: PTH101
        os.utime(target, _OLD)
