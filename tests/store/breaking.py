"""What the store's tests break things with: children to kill, other users, mounts that vanish."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import stat
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpfbench.store.store import Store

NOBODY = 65534
PR_SET_PDEATHSIG = 1
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x00020000, 0x4000, 1 << 18


class Children:
    """Forks that end with the test. A child's exception is printed and makes its exit status 1."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def start(self, work: Callable[[], Any]) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self.pids.append(pid)
            return pid
        status = 1
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)

    def end(self, pid: int) -> int:
        """Wait for a child; return its exit status, or minus the signal that ended it."""
        self.pids.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        assert self.end(pid) == -signal.SIGKILL

    def run(self, work: Callable[[], Any]) -> int:
        return self.end(self.start(work))


class Line:
    """A pipe of one-word messages, so that tests see what happened instead of sleeping."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()

    def say(self, word: str) -> None:
        os.write(self.write_end, word.encode().ljust(16))

    def hear(self) -> str:
        if not select.select([self.read_end], [], [], 60)[0]:
            raise AssertionError("nobody says anything")
        return os.read(self.read_end, 16).decode().strip()

    def close(self) -> None:
        os.close(self.read_end)
        os.close(self.write_end)


def need_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user or to mount")


def become_nobody() -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def mount(source: str, target: Path, kind: str, flags: int = 0, options: str = "") -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if (
        libc.mount(
            source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), options.encode()
        )
        != 0
    ):
        raise OSError(ctypes.get_errno(), f"mount {kind} on {target}")


def private_mounts() -> None:
    """Let this process's mounts be seen by it alone, so that they end with it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("none", Path("/"), "none", MS_REC | MS_PRIVATE)


def fill(tree: Path) -> dict[str, Any]:
    """Make a tree with one of everything."""
    (tree / "bin").mkdir()
    (tree / "bin" / "run").write_bytes(b"#!/bin/sh\necho run\n")
    (tree / "bin" / "run").chmod(0o755)
    (tree / "data").write_bytes(b"some data")
    (tree / "empty").mkdir()
    (tree / "link").symlink_to("bin/run")
    return {"made": "by a test"}


def overwrite(path: Path, data: bytes, at: int = 0) -> None:
    """Change bytes in place, and hide it as well as can be: same inode, size, mode and mtime."""
    before = path.lstat()
    path.chmod(before.st_mode | stat.S_IWUSR)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(data)
    path.chmod(stat.S_IMODE(before.st_mode))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.lstat()
    for field in ("st_size", "st_mtime_ns", "st_ino", "st_mode"):
        assert getattr(before, field) == getattr(after, field)


def rubbish(store: Store) -> list[str]:
    """Everything in a store that is no item, at any depth that the store uses."""
    inside = [p for item in store.ids() for p in (store.root / item).iterdir()]
    found = [*store.root.iterdir(), *inside] if store.root.exists() else []
    return [str(p.relative_to(store.root)) for p in found if p.name.startswith(".")]
