"""What is kept of a build: the files that the spec names, under the names that it gives them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from bpfbench.build.scratch import inside
from bpfbench.errors import BenchError
from bpfbench.model.types import Package


def collect(package: Package, place: Path, tree: Path) -> None:
    """Copy the package's outputs from the build's directory below ``tree``.

    ``options.outputs`` maps a target to patterns below the directory. A target that ends with ``/`` is a
    directory, into which all matching files go, and the content of matching directories (pattern with ``/``
    at its end). Any other target is one file. Links become copies of what they lead to. Raises
    ``BenchError`` for a pattern that matches nothing, and for two files of one name.
    """
    placed: dict[Path, Path] = {}
    for target, patterns in package.options["outputs"].items():
        for pattern in [patterns] if isinstance(patterns, str) else patterns:
            _place(package, place, tree / inside(package, target), target, pattern, placed)
    for to, source in placed.items():
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, to)
        to.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def _place(
    package: Package, place: Path, to: Path, target: str, pattern: str, placed: dict[Path, Path]
) -> None:
    found = [path for path in sorted(place.glob(inside(package, pattern.rstrip("/")))) if path.exists()]
    if not found:
        raise BenchError(
            f"{package.location}: {package.name} made nothing called {pattern}, which is to become {target}",
            hint="mend `outputs`, or the options that make it",
        )
    if not target.endswith("/") and (len(found) > 1 or not found[0].is_file()):
        message = f"{package.location}: {target} is one file, but {pattern} is not"
        raise BenchError(message, hint=f"write {target}/")
    for path in found:
        for file, name in _files(path, pattern) if path.is_dir() else [(path, path.name)]:
            goal = to / name if target.endswith("/") else to
            other = placed.setdefault(goal, file)
            if other != file and other.read_bytes() != file.read_bytes():
                raise BenchError(f"{package.location}: {other.name} and {file} both become {target}{name}")


def _files(directory: Path, pattern: str) -> Iterator[tuple[Path, str]]:
    base = directory if pattern.endswith("/") else directory.parent
    for file in sorted(directory.rglob("*")):
        if file.is_file():
            yield file, file.relative_to(base).as_posix()
