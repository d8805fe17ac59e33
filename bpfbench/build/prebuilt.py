"""Packages that are taken from a build tree which somebody made with CMake: ``override.NAME-build=/path``.

What is executed is copied into the store, so that a rebuild in the middle of a measurement changes nothing. The key is
the content of these files and the options they were built with, as the tree's CMake cache has them; where the tree
lies is no part of it. Options: ``take`` (where it goes: file of the build tree, or a list of them for a target that
ends in /), ``record`` (CMake options that every result is to name) and ``expect`` (option: on or off; any other
value is refused, because the package would not be what its name says).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bpfbench.build.digests import FileDigests, Memory, hash_file
from bpfbench.errors import BenchError
from bpfbench.model.types import Package

VERSION = 1
CACHE = "CMakeCache.txt"
_ENTRY = re.compile(r"^([A-Za-z0-9_.+-]+):[A-Z]+=(.*)$")
_VERSION = re.compile(r'set\(PACKAGE_VERSION "([^"]+)"\)')
_OFF = {"", "0", "off", "no", "false", "n", "ignore", "notfound"}


def key_components(package: Package, build: Path, *, cache: Path) -> Mapping[str, Any]:
    """Return the content of the files taken and the options recorded. Raises ``BenchError`` for an unfit tree."""
    options = _options(package, build)
    digests = FileDigests(Memory(cache / "prebuilt.json"))
    try:
        files = {name: digests.of(str(source)) for name, source in _files(package, build)}
    finally:
        digests.save()
    return {"recipe": {"name": "prebuilt", "version": VERSION}, "files": files, "options": options}


def make(package: Package, build: Path, tree: Path, *, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy the files below ``tree``; return what every result is to say of them.

    ``wanted`` are the key's components: a file that is not what they say was changed meanwhile (``BenchError``).
    """
    for name, source in _files(package, build):
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        if hash_file(target) != wanted["files"][name]:
            raise BenchError(f"{source} changed while it was copied", hint="run the same command again")
    return {"about": {"options": dict(wanted["options"])}}


def home(build: Path) -> Path | None:
    """Return the source directory that a build tree was made from."""
    name = _entries(build).get("CMAKE_HOME_DIRECTORY")
    return Path(name) if name else None


def _files(package: Package, build: Path) -> Iterator[tuple[str, Path]]:
    """Yield (name below the package's tree, file of the build tree)."""
    for target, names in package.options["take"].items():
        for name in [names] if isinstance(names, str) else names:
            source = build / name
            if not source.is_file():
                hint = f"build it there, or mend `take` in {package.location.file}"
                raise BenchError(f"{package.name}: {source} is not there", hint=hint)
            yield (f"{target}{source.name}" if target.endswith("/") else target), source


def _options(package: Package, build: Path) -> dict[str, str]:
    entries = _entries(build)
    for name, wanted in package.options.get("expect", {}).items():
        value = entries.get(name)
        if (_is_on(value) if value is not None else None) != (wanted == "on"):
            message = f"{package.name}: {build} was built with {name}={value}, it must be {wanted}"
            raise BenchError(message, hint=f"give another build tree with override.{package.name}-build=/path")
    found = {name: entries.get(name, "not set") for name in package.options.get("record", ())}
    return {**found, **{name: version for name in found if (version := _version(name, found[name]))}}


def _is_on(value: str) -> bool:
    """Whether CMake takes a value for true."""
    return value.lower() not in _OFF and not value.lower().endswith("-notfound")


def _version(name: str, value: str) -> str | None:
    """Return the version of the CMake package that ``NAME_DIR`` leads to: where it lies says little."""
    if not name.endswith("_DIR"):
        return None
    try:
        text = (Path(value) / f"{name.removesuffix('_DIR')}ConfigVersion.cmake").read_text(errors="replace")
    except OSError:
        return None
    found = _VERSION.search(text)
    return found[1] if found else None


def _entries(build: Path) -> dict[str, str]:
    try:
        text = (build / CACHE).read_text(errors="replace")
    except OSError as error:
        hint = "name the directory that cmake was given with -B"
        raise BenchError(f"{build} is no build tree of CMake: {CACHE}: {error.strerror}", hint=hint) from None
    return {found[1]: found[2] for line in text.splitlines() if (found := _ENTRY.match(line))}
