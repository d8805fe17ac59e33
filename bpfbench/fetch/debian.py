"""Method *debian*: the orig tarball of a Debian source package, by the machine's own apt.

Fields: ``package``, ``file``, ``strip``, ``sha256`` once pinned. Any packaging revision that carries this tarball will do, for only the
tarball is taken: a security update of the packaging changes nothing here. apt gets a state directory of its own, with
source lines derived from the machine's entries; the machine's configuration is only read, so no root is needed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bpfbench.fetch.aptsources import derived
from bpfbench.fetch.archive import unfold
from bpfbench.fetch.errors import Mismatch, Unavailable
from bpfbench.fetch.tools import NOWHERE, Obtained, Tools, environment
from bpfbench.store.locks import Flock

HOST = "the Debian archive"
FRESH = 3600.0
"""Seconds for which apt's lists are new enough when something is not in them."""
_UNREACHABLE = re.compile(r"Could not connect|Temporary failure|Could not resolve|timed out|Failed to fetch|Unable to connect")


class _Tarball(NamedTuple):
    """One tarball as the archive lists it."""

    version: str
    """Of the packaging that carries it."""
    file: str
    sha256: str


def obtain(fields: Mapping[str, Any], reference: str, tree: Path, tools: Tools) -> Obtained:
    """Fill ``tree``. Raises ``Unavailable``, ``Mismatch`` or ``Refused``."""
    if shutil.which("apt-get") is None:
        raise Unavailable("this machine has no apt")
    tools.reach.check(HOST)
    apt = _Apt(tools)
    package, file, sha256 = fields["package"], fields["file"], fields.get("sha256")
    found = apt.find(package, file)
    wanted = [tarball for tarball in found if sha256 in (None, tarball.sha256)]
    if found and not wanted:
        raise Mismatch(f"{file}: the archive has it with another SHA-256", str(sha256), found[0].sha256)
    path = apt.download(package, wanted[0])
    unfold(path, tree, tools, file, int(fields.get("strip", 1)))
    path.unlink(missing_ok=True)
    return Obtained(reference, {"sha256": wanted[0].sha256})


class _Apt:
    """apt with a state of its own, kept between calls as long as the machine's entries stay the same."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        sources = derived(_settings())
        if not sources:
            raise Unavailable("this machine's apt has no entries to derive source lines from")
        self._root = tools.cache / "apt" / hashlib.sha256(repr(sorted(sources.items())).encode()).hexdigest()[:16]
        for folder in ("lists/partial", "cache/archives/partial", "sources"):
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        for name, content in sources.items():
            (self._root / "sources" / name).write_text(content)

    def find(self, package: str, file: str) -> list[_Tarball]:
        """Return every tarball of this name, updating apt's lists if it is not in them."""
        with Flock(self._root) as flock:  # apt does not wait for another one that updates the same lists
            flock.take(on_wait=lambda _: self._tools.progress("waiting for another apt"))
            return self._find(package, file)

    def _find(self, package: str, file: str) -> list[_Tarball]:
        stamp = self._root / "updated"
        found = self._listed(package) if stamp.exists() else []
        wanted = [tarball for tarball in found if tarball.file == file]
        if not wanted and (not stamp.exists() or time.time() - stamp.stat().st_mtime > FRESH):
            self._update()
            stamp.write_text("")
            found = self._listed(package)
            wanted = [tarball for tarball in found if tarball.file == file]
        if not wanted:
            there = sorted({tarball.file for tarball in found})
            has = f"it has {', '.join(there)}" if there else "it has no such package"
            raise Unavailable(f"this machine's Debian archive does not have {file} of {package}: {has}")
        return wanted

    def download(self, package: str, tarball: _Tarball) -> Path:
        """Return a file with the tarball, of the SHA-256 that is listed for it."""
        place = self._tools.place("apt")
        ended, _, err = self._run(
            "source", "--download-only", "--only-source", "--tar-only", f"{package}={tarball.version}", cwd=place
        )
        path = place / tarball.file
        if not ended or not path.is_file():
            raise self._failure(f"{tarball.file} cannot be downloaded", err)
        with path.open("rb") as file:
            got = hashlib.file_digest(file, "sha256").hexdigest()
        if got != tarball.sha256:
            raise Mismatch(f"{tarball.file}: the file has another SHA-256", tarball.sha256, got)
        self._tools.reach.reached(HOST)
        return path

    def _update(self) -> None:
        self._tools.progress(f"{HOST}: reading what it has")
        ended, _, err = self._run("update", cwd=self._root)
        # apt calls it success when it could reach nothing, as long as it has old lists.
        if not ended or not any((self._root / "lists").glob("*_Sources*")):
            raise self._failure("its lists cannot be read", err)

    def _listed(self, package: str) -> list[_Tarball]:
        done = subprocess.run(
            ["apt-cache", *self._options(), "showsrc", "--only-source", package], capture_output=True, text=True,
            env=environment(self._root, "APT_"), stdin=subprocess.DEVNULL, timeout=60, check=False,
        )  # fmt: skip
        return list(_tarballs(done.stdout))

    def _run(self, *words: str, cwd: Path) -> tuple[bool, str, str]:
        argv = ("apt-get", "-q", *self._options(), *words)
        try:
            ended, out, err = self._tools.run(
                argv, cwd=cwd, env=environment(self._root, "APT_"), what=HOST, host=HOST, signs=_sign
            )
        except Unavailable as error:
            if error.host:
                self._tools.reach.failed(HOST, str(error))
            raise
        return ended.ok, out, err

    def _failure(self, what: str, said: str) -> Unavailable:
        errors = [line for line in said.splitlines() if line.startswith(("E: ", "W: Failed", "Err"))]
        reason = f"{HOST}: {what}: {'; '.join(errors[:2]) or said.strip()[-200:]}"
        if _UNREACHABLE.search(said):
            self._tools.reach.failed(HOST, reason)
            return Unavailable(reason, host=HOST)
        return Unavailable(reason)

    def _options(self) -> list[str]:
        root, timeout = self._root, f"{self._tools.connect:.0f}"
        settings = {
            "Dir::State": root, "Dir::State::lists": root / "lists", "Dir::Cache": root / "cache",
            "Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": root / "sources",
            "Acquire::http::Timeout": timeout, "Acquire::https::Timeout": timeout, "Acquire::Retries": "0",
            "Acquire::Languages": "none", "APT::Status-Fd": "1",
            # What runs here is not root, or a root that would hand its downloads to a user who may not come here.
            "APT::Sandbox::User": "root",
        }  # fmt: skip
        return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _settings() -> dict[str, str]:
    """Ask apt where this machine keeps its entries."""
    asked = ("LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d")
    done = subprocess.run(
        ["apt-config", "shell", *asked], capture_output=True, text=True, env=environment(NOWHERE, "APT_"),
        stdin=subprocess.DEVNULL, timeout=60, check=False,
    )  # fmt: skip
    return dict(re.findall(r"^(\w+)='(.*)'$", done.stdout, re.MULTILINE))


def _tarballs(showsrc: str) -> Iterator[_Tarball]:
    """Yield the tarballs in what ``apt-cache showsrc`` prints."""
    for stanza in showsrc.split("\n\n"):
        version = re.search(r"^Version: (\S+)$", stanza, re.MULTILINE)
        sums = re.search(r"^Checksums-Sha256:\s*\n((?: .*\n?)+)", stanza, re.MULTILINE)
        for line in sums[1].splitlines() if version and sums else []:
            sha256, _, file = line.split()
            if ".orig" in file and not file.endswith(".asc"):
                assert version
                yield _Tarball(version[1], file, sha256)


def _sign(line: str) -> str | None:
    """Tell how far apt is, from a line of its status that speaks of something that has arrived."""
    found = re.fullmatch(r"dlstatus:\d+:([\d.]+):.*", line)
    if found and float(found[1]) > 0:
        return f"{float(found[1]):.0f} %"
    return "receiving" if line.startswith(("Get:", "Hit:")) else None
