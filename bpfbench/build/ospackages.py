"""The identity of what the operating system brings into a build: headers, libraries, pkg-config files.

A third-party build reads what its configure script finds, so the files cannot be known before it ran. What
can be known is which OS packages they come from: those that provide the package's requirements, what these
depend on as far as it is for developing, and those of the C library and the compiler. Their versions and
contents go into the key. After the build, everything that it really read must come from one of them.

Where there is no dpkg, all development files that compilers find by themselves stand for one package.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfbench.build.digests import Memory

DPKG = Path("/var/lib/dpkg")
_DOCUMENTATION = re.compile(r"^/usr/share/(?:doc|man|info|locale|lintian|bug|gtk-doc)(?:/|$)")
_DEVELOPMENT = re.compile(r"^/usr/include/|\.pc$|^(?:/usr)?/lib/(?:[^/]+/)?[^/]+\.(?:a|so)$|^/usr/lib/gcc/")
"""Files that only a package for developing has."""
_RUNTIME = re.compile(r"^(?:/usr)?/lib(?:64)?/(?:[^/]+/)?[^/]+\.so\.[^/]*$")
_FIELD = re.compile(r"^(Package|Status|Architecture|Version|Depends|Pre-Depends): (.*)$", re.MULTILINE)
_THERE = {"installed", "triggers-pending", "triggers-awaited"}
"""States of a package whose files are in place; the latter two while another one is being installed."""
_NAME = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_EVERYWHERE = ("/usr/include", "/usr/local/include")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/share/pkgconfig")


@dataclass(frozen=True, slots=True)
class Installed:
    """One installed package of dpkg's."""

    name: str
    architecture: str
    version: str
    depends: tuple[str, ...]


class OsPackages:
    """The OS packages that take part in a build. ``memory`` is for what was learnt about them."""

    def __init__(self, memory: Memory, database: Path = DPKG) -> None:
        self._memory = memory
        self._database = database

    def identity(self, wanted: Sequence[str], anchors: Sequence[str]) -> dict[str, Any]:
        """Return what belongs into a key: package → version and digest of its files.

        ``wanted`` are names of OS packages; ``anchors`` are files whose owners count too.
        """
        if not self._has_dpkg():
            return {"every development file": {"files": _digest(_stamps(_development_files()))}}
        return {name: self._described(name) for name in self._taking_part(wanted, anchors)}

    def covers(self, wanted: Sequence[str], anchors: Sequence[str]) -> frozenset[str]:
        """Return the real paths of all files that ``identity`` stands for."""
        if not self._has_dpkg():
            return frozenset(os.path.realpath(path) for path in _development_files())
        names = self._taking_part(wanted, anchors)
        return frozenset(os.path.realpath(path) for name in names for path in self._files(name))

    def owner(self, path: str) -> str | None:
        """Return the OS package that a file came with, None if that is not known."""
        for name, files in self._all_files():
            if any(os.path.realpath(file) == path for file in files if file.endswith(f"/{Path(path).name}")):
                return name
        return None

    def _has_dpkg(self) -> bool:
        return (self._database / "status").is_file()

    def _taking_part(self, wanted: Sequence[str], anchors: Sequence[str]) -> list[str]:
        info = (self._database / "status").stat()
        state = [info.st_size, info.st_mtime_ns, info.st_ino, sorted(wanted), sorted(anchors)]
        question = f"packages {hashlib.sha256(repr(state[3:]).encode()).hexdigest()}"
        known = self._memory.get(question)
        if isinstance(known, dict) and known.get("state") == state:
            return list(known["names"])
        names = self._find(wanted, anchors)
        self._memory.put(question, {"state": state, "names": names})
        return names

    def _find(self, wanted: Sequence[str], anchors: Sequence[str]) -> list[str]:
        installed = self._status()
        owners = self._owners(anchors)
        waiting, found = [name for name in (*wanted, *owners) if name in installed], set()
        direct = set(waiting)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            kind = self._kind(name)
            if kind == "other" and name not in direct:
                continue
            found.add(name)
            if kind == "development":
                waiting += [other for other in installed[name].depends if other in installed]
        return sorted(found)

    def _kind(self, name: str) -> str:
        files = self._files(name)
        if any(_DEVELOPMENT.search(file) for file in files):
            return "development"
        return "runtime" if any(_RUNTIME.match(file) for file in files) else "other"

    def _owners(self, anchors: Sequence[str]) -> list[str]:
        real = {os.path.realpath(path) for path in anchors}
        names = {os.path.basename(path) for path in real}  # noqa: PTH119
        return [
            package
            for package, files in self._all_files()
            if any(os.path.basename(file) in names and os.path.realpath(file) in real for file in files)  # noqa: PTH119
        ]

    def _all_files(self) -> Iterator[tuple[str, list[str]]]:
        for listing in sorted((self._database / "info").glob("*.list")):
            yield listing.name.removesuffix(".list").partition(":")[0], _lines(listing)

    def _files(self, name: str) -> list[str]:
        for listing in (f"{name}.list", f"{name}:{self._status()[name].architecture}.list"):
            if (place := self._database / "info" / listing).is_file():
                return _lines(place)
        return []

    def _described(self, name: str) -> dict[str, str]:
        stamps = list(_stamps(path for path in self._files(name) if not _DOCUMENTATION.match(path)))
        look = hashlib.sha256(repr(stamps).encode()).hexdigest()
        known = self._memory.get(f"package {name}")
        if not isinstance(known, dict) or known.get("look") != look:
            version = self._status()[name].version
            known = {"look": look, "version": version, "files": _content(path for path, *_ in stamps)}
            self._memory.put(f"package {name}", known)
        return {"version": known["version"], "files": known["files"]}

    def _status(self) -> Mapping[str, Installed]:
        found = _STATUS.get(self._database)
        info = (self._database / "status").stat()
        seen = (info.st_size, info.st_mtime_ns, info.st_ino)
        if found is None or found[0] != seen:
            found = seen, _read_status(self._database / "status")
            _STATUS[self._database] = found
        return found[1]


_STATUS: dict[Path, tuple[tuple[int, int, int], Mapping[str, Installed]]] = {}


def _read_status(path: Path) -> dict[str, Installed]:
    found = {}
    for stanza in path.read_text("utf-8", "replace").split("\n\n"):
        fields = dict(_FIELD.findall(stanza))
        if fields.get("Status", "").rpartition(" ")[2] in _THERE:
            depends = f"{fields.get('Depends', '')}, {fields.get('Pre-Depends', '')}"
            words = [_NAME.match(word.strip()) for word in re.split(r"[,|]", depends)]
            package = Installed(
                fields["Package"], fields["Architecture"], fields["Version"],
                tuple(dict.fromkeys(word[0] for word in words if word)),
            )
            found[package.name] = package
    return found


def _lines(listing: Path) -> list[str]:
    return [line for line in listing.read_text("utf-8", "surrogateescape").splitlines() if line != "/."]


def _stamps(paths: Iterable[str]) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield what ``lstat`` says of every file and link, without directories and what was not unpacked."""
    for path in paths:
        try:
            info = os.lstat(path)
        except OSError:
            continue
        if not stat.S_ISDIR(info.st_mode):
            yield path, info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino


def _content(paths: Iterable[str]) -> str:
    """Return one SHA-256 over names and contents."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path}\0".encode("utf-8", "surrogateescape"))
        try:
            place = Path(path)
            if place.is_symlink():
                total.update(f"link {place.readlink()}\0".encode("utf-8", "surrogateescape"))
            else:
                with place.open("rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            # Closed to us (a key of the system's, a setuid helper): that it is there must do.
            total.update(f"closed {error.errno}\0".encode())
    return total.hexdigest()


def _digest(stamps: Iterable[tuple[str, int, int, int, int]]) -> str:
    """Return one SHA-256 over names, sizes and times, which machines with the same files have in common."""
    return hashlib.sha256(repr(sorted(stamp[:3] for stamp in stamps)).encode()).hexdigest()


def _development_files() -> Iterator[str]:
    for top in _EVERYWHERE:
        for directory, _, names in os.walk(top):
            yield from (f"{directory}/{name}" for name in names)
    for top in _LIBRARIES:
        for directory, below, names in os.walk(top):
            yield from (f"{directory}/{name}" for name in names if _is_library(name))
            # libraries lie in these directories themselves, or in those named after a machine
            wanted = {"gcc", "pkgconfig", "cmake"}
            below[:] = [name for name in below if "-linux-" in name or name in wanted or "gcc/" in directory]


def _is_library(name: str) -> bool:
    return bool(re.search(r"\.(?:a|o|so|so\.[0-9.]+|pc|cmake|h)$", name))
