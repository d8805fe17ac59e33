"""A local directory in place of a source: ``override.NAME=/path``.

A git checkout stands for its tracked files as they are now, committed or not, and its untracked files that are not
ignored; any other directory for all that is in it. Its key is the commit and a digest of that content, so that an edit is
noticed and going back to a former state is a hit. Digests of single files are remembered by (size, mtime, ctime, inode).
"""

# File names are bytes here, which pathlib cannot hold:
# ruff: noqa: PTH115, PTH103, PTH118

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.fetch.tools import NOWHERE, environment
from bpfbench.store.nar import printable

_SETTLED_NS = 50_000_000


@dataclass(frozen=True, slots=True)
class Local:
    """A local tree as it is now."""

    path: Path
    commit: str | None
    """What is checked out; None for what is no git checkout, or has no commit yet."""
    digest: str
    """Over names, kinds, contents and execute bits of all files."""
    changed: bool
    """Whether anything differs from the commit."""
    files: tuple[bytes, ...]

    def components(self) -> dict[str, str | None]:
        """Return what goes into a key. Where the tree lies is no part of it."""
        return {"commit": self.commit, "content": self.digest}


def look(path: Path, cache: Path) -> Local:
    """Return what is at ``path``; ``cache`` remembers digests of files. Raises ``BenchError``."""
    if not path.is_dir():
        raise BenchError(f"{path} is no directory", hint="an override names a checkout or a directory with a source")
    git = (path / ".git").exists()
    commit, changed = revision(path) if git else (None, False)
    files = sorted(_tracked(path)) if git else sorted(_walk(path))
    if not files:
        raise BenchError(f"{path} has no files", hint="an override names a checkout or a directory with a source")
    return Local(path, commit, _Digests(cache).of(path, files), changed, tuple(files))


def revision(checkout: Path) -> tuple[str | None, bool]:
    """Return the commit that a git checkout is at (None: none yet), and whether anything in it differs from that."""
    commit = _git(checkout, "rev-parse", "--verify", "--quiet", "HEAD", fails=True).decode().strip() or None
    return commit, bool(_git(checkout, "status", "--porcelain", "-z", "--ignore-submodules=none"))


def copy(local: Local, tree: Path) -> None:
    """Copy a local tree's files into ``tree``, and see that they are still those that were looked at."""
    root, to = os.fsencode(local.path), os.fsencode(tree)
    for name in local.files:
        target = to + b"/" + name
        os.makedirs(os.path.dirname(target), exist_ok=True)  # noqa: PTH120
        try:
            shutil.copy(root + b"/" + name, target, follow_symlinks=False)
        except OSError as error:
            raise BenchError(f"{local.path}/{printable(name)} cannot be copied: {error.strerror}") from error
    if _digest_of(tree, local.files) != local.digest:
        raise BenchError(f"{local.path} changed while it was copied", hint="run the same command again")


def _tracked(path: Path, prefix: bytes = b"") -> Iterator[bytes]:
    """Yield what git counts as content of a checkout, submodules that are checked out included."""
    listed = _git(path, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    for row in listed.split(b"\0"):
        name = row.rstrip(b"/")
        if not name:
            continue
        inner = os.path.join(os.fsencode(path), name)
        try:
            mode = os.lstat(inner).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue  # deleted, and not yet committed so
        if stat.S_ISDIR(mode):  # a submodule, or a checkout inside this one
            if os.path.lexists(inner + b"/.git"):
                yield from _tracked(Path(os.fsdecode(inner)), prefix + name + b"/")
        else:
            yield prefix + name


def _walk(path: Path) -> Iterator[bytes]:
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = list(os.scandir(os.path.join(os.fsencode(path), folder)))
        except OSError as error:
            raise BenchError(f"{path}/{printable(folder)} cannot be read: {error.strerror}") from error
        for entry in entries:
            name = folder + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name != b".git":
                    waiting.append(name + b"/")
            else:
                yield name


class _Digests:
    """SHA-256 of files, remembered in one file of JSON that can be deleted at any time."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache

    def of(self, path: Path, files: list[bytes]) -> str:
        known: dict[str, list[object]] = {}
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(self._cache.read_bytes())
        fresh: dict[str, list[object]] = {}
        digest = _digest_of(path, tuple(files), known, fresh)
        if fresh != known:
            # A cache that cannot be written costs time, nothing else.
            with contextlib.suppress(OSError):
                self._cache.parent.mkdir(parents=True, exist_ok=True)
                temporary = self._cache.with_name(f".{self._cache.name}.{os.getpid()}")
                temporary.write_text(json.dumps(fresh))
                temporary.replace(self._cache)
        return digest


def _digest_of(
    path: Path,
    files: tuple[bytes, ...],
    known: dict[str, list[object]] | None = None,
    fresh: dict[str, list[object]] | None = None,
) -> str:
    whole = hashlib.sha256()
    root = os.fsencode(path)
    for name in files:
        inner = root + b"/" + name
        try:
            row = _row(inner, known, fresh)
        except OSError as error:
            raise BenchError(f"{path}/{printable(name)} cannot be read: {error.strerror}") from error
        if row is None:
            raise BenchError(f"{path}/{printable(name)} is a socket, pipe or device", hint="remove it, or ignore it in git")
        whole.update(len(name).to_bytes(8, "big") + name + row)
    return whole.hexdigest()


def _row(path: bytes, known: dict[str, list[object]] | None, fresh: dict[str, list[object]] | None) -> bytes | None:
    """Return what stands for one file in the digest; None for what no tree can hold."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(path)
        return b"l" + len(target).to_bytes(8, "big") + target
    if not stat.S_ISREG(status.st_mode):
        return None
    look: list[object] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    name = os.fsdecode(path)
    before = known.get(name) if known else None
    if before and before[0] == look:
        content = str(before[1])
    else:
        with open(path, "rb") as file:  # noqa: PTH123
            content = hashlib.file_digest(file, "sha256").hexdigest()
    # What has changed just now may change again without its times showing it.
    if fresh is not None and time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _SETTLED_NS:
        fresh[name] = [look, content]
    return (b"x" if status.st_mode & stat.S_IXUSR else b"f") + content.encode()


def _git(path: Path, *words: str, fails: bool = False) -> bytes:
    """Ask git about a checkout: without writing to it, its owner's configuration or anybody's hooks."""
    settings = ("safe.directory=*", "core.fsmonitor=false", "core.hooksPath=/dev/null", "core.untrackedCache=false")
    env = {
        **environment(NOWHERE), "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0",
    }  # fmt: skip
    argv = ["git", "-C", str(path), *(word for setting in settings for word in ("-c", setting)), *words]
    try:
        done = subprocess.run(argv, capture_output=True, env=env, stdin=subprocess.DEVNULL, timeout=120, check=False)
    except FileNotFoundError:
        raise BenchError(f"{path} is a git checkout, but git is not here", hint="apt-get install git") from None
    except subprocess.TimeoutExpired:
        raise BenchError(f"git does not answer about {path}") from None
    if done.returncode and not fails:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise BenchError(f"git cannot tell what is in {path}: {said.splitlines()[-1] if said else done.returncode}")
    return done.stdout
