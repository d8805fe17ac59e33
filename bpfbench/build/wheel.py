"""Python packages from a wheel, as the source brings it unpacked: used by path, never installed.

``PYTHONPATH=<tree> python -c 'import …'`` uses it. Every file is held against the wheel's own list (RECORD).
"""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bpfbench.build.invoke import Run, invoke
from bpfbench.errors import BenchError
from bpfbench.model.types import Package, Requirement

VERSION = 1


def key_components(
    package: Package,
    root: Path,
    *,
    cache: Path,
    sources: Mapping[str, str],
    depends: Mapping[str, Path] | None = None,
    requirements: Sequence[Requirement] = (),
) -> Mapping[str, Any]:
    """Return what can change the package's output: its sources. Raises ``BenchError`` for options."""
    if package.options:
        raise BenchError(f"{package.location}: the recipe wheel has no option {next(iter(package.options))}")
    return {"recipe": {"name": "wheel", "version": VERSION}, "sources": dict(sources)}


def make(
    package: Package,
    root: Path,
    tree: Path,
    *,
    cache: Path,
    run: Run = invoke,
    sources: Mapping[str, Path],
    depends: Mapping[str, Path] | None = None,
    requirements: Sequence[Requirement] = (),
) -> Mapping[str, Any]:
    """Check the wheels and copy them below ``tree``; return what the manifest should remember.

    Raises ``BenchError`` for a file that is missing, changed or not on the list, and for a wheel that is
    made for another machine.
    """
    told = {}
    for name, source in sources.items():
        info = _info(package, source)
        told[name] = _tags(package, info)
        _check_record(package, source, info)
        shutil.copytree(source, tree, dirs_exist_ok=True, copy_function=shutil.copy)
    return {"wheels": told}


def _info(package: Package, source: Path) -> Path:
    found = sorted(source.glob("*.dist-info"))
    if len(found) != 1 or not (found[0] / "RECORD").is_file():
        raise BenchError(f"{package.location}: {source} is no unpacked wheel: it has no *.dist-info/RECORD")
    if data := sorted(source.glob("*.data")):
        raise BenchError(
            f"{package.location}: the wheel wants {data[0].name} spread over an environment",
            hint="wheels that are used by path alone can be packages",
        )
    return found[0]


def _tags(package: Package, info: Path) -> list[str]:
    tags = re.findall(r"^Tag: (\S+)$", (info / "WHEEL").read_text("utf-8"), re.MULTILINE)
    machine = os.uname().machine
    platforms = {tag.rpartition("-")[2] for tag in tags}
    fits = [name for name in platforms if name == "any" or name.endswith(f"_{machine}")]
    if not fits:
        named = ", ".join(sorted(platforms)) or "nothing"
        raise BenchError(f"{package.location}: the wheel is made for {named}; this machine is {machine}")
    return sorted(tags)


def _check_record(package: Package, source: Path, info: Path) -> None:
    record = info / "RECORD"
    listed = {record.relative_to(source).as_posix()}
    with record.open(newline="", encoding="utf-8") as file:
        for path, digest, _ in csv.reader(file):
            listed.add(path)
            if digest and _sha256(source / path) != digest:
                raise BenchError(f"{package.location}: {path} is not what the wheel's RECORD says")
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if not path.is_dir()}
    if more := sorted(there - listed):
        raise BenchError(f"{package.location}: the wheel's RECORD does not list {', '.join(more[:5])}")


def _sha256(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")
