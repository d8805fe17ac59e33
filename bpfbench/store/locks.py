"""Locks that die with their holder: ``flock`` on directories that exist anyway, opened read-only.

Nothing is ever stale (the kernel lets go when the holder ends, even by kill -9), and no permission to write
is needed, so that different users can share a lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bpfbench.errors import BenchError
from bpfbench.store.files import unwritable, write_atomic

OnWait = Callable[[float], object]
"""Called again and again while a lock is waited for, with the seconds waited so far."""

_LONGEST_PAUSE = 0.5

_flocks: weakref.WeakSet[Flock] = weakref.WeakSet()


class Flock:
    """An open directory, to lock; closing it lets go. Raises OSError if it cannot be opened."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        _flocks.add(self)

    def __enter__(self) -> Flock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether this process still has it: a forked child never does."""
        return self._fd >= 0

    def close(self, *, unlock: bool = True) -> None:
        """Let go; twice is no harm. Without ``unlock`` a forked child does not let go for its parent."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            if unlock:
                fcntl.flock(fd, fcntl.LOCK_UN)  # even if a child that is about to exec has it open still
            os.close(fd)

    def try_take(self, *, shared: bool = False) -> bool:
        """Take the lock if that needs no waiting; say whether it did."""
        try:
            fcntl.flock(self._fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def take(self, *, shared: bool = False, on_wait: OnWait | None = None) -> None:
        """Take the lock, waiting as long as it takes."""
        if on_wait is None:
            fcntl.flock(self._fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
            return
        began, pause = time.monotonic(), 0.01
        while not self.try_take(shared=shared):
            on_wait(time.monotonic() - began)
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)  # whoever holds it may be measuring: do not disturb

    def is_at(self, path: Path) -> bool:
        """Whether ``path`` still is the directory that was opened, not another one that took its place."""
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(self._fd), os.lstat(path))
        return False


def _close_in_child() -> None:
    # A forked child would hold the lock for as long as it lives, longer than its parent perhaps.
    for flock in list(_flocks):
        flock.close(unlock=False)


os.register_at_fork(after_in_child=_close_in_child)


@dataclass(frozen=True, slots=True)
class MachineLock:
    """Who may use the machine: many that build (shared), or one that measures (exclusive), whoever they are.

    Two directories are locked, in this order: whoever wants the lock passes the gate first; whoever wants
    it for itself stays in the gate while it waits and works, so that nobody gets in before it. The
    directories are the kernel's own: every Linux has them, and they are the same ones in a chroot. (A
    container with its own sysfs counts as a machine of its own.)

    Not reentrant: a holder that asks again waits for itself.
    """

    gate: Path = Path("/sys/devices/system")
    lock: Path = Path("/sys/devices/system/cpu")

    @contextmanager
    def shared(self, on_wait: OnWait | None = None) -> Iterator[None]:
        """Hold the machine together with others that build, once nobody measures or waits for measuring."""
        with _open(self.lock) as lock:
            with _open(self.gate) as gate:
                gate.take(shared=True, on_wait=on_wait)
                lock.take(shared=True, on_wait=on_wait)
            yield

    @contextmanager
    def exclusive(self, on_wait: OnWait | None = None) -> Iterator[None]:
        """Hold the machine alone, once all others have finished."""
        with _open(self.gate) as gate, _open(self.lock) as lock:
            gate.take(on_wait=on_wait)
            lock.take(on_wait=on_wait)
            yield


def _open(path: Path) -> Flock:
    try:
        return Flock(path)
    except OSError as error:
        raise BenchError(
            f"{path}, by which the machine is locked, cannot be opened: {error.strerror}",
            hint="mount sysfs: mount -t sysfs sysfs /sys",
        ) from error


class CheckoutLock:
    """One writing command per checkout: a context manager that holds the directory of ``path``.

    Entering it raises BenchError at once if somebody else is in it.
    The file at ``path`` says who the holder is, for the message that the second one gets; it locks nothing.
    """

    def __init__(self, path: Path, command: str) -> None:
        self._path = path
        self._command = command
        self._flock: Flock | None = None

    def __enter__(self) -> CheckoutLock:
        folder = self._path.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            flock = Flock(folder)
        except OSError as error:
            raise BenchError(f"{folder} cannot be used: {error.strerror}") from error
        try:
            if not flock.try_take():
                raise BenchError(
                    f"this checkout is in use by {self._holder()}",
                    hint="wait until it has finished, or end it; commands that only read need not wait",
                )
            self._sign()
        except BaseException:
            flock.close()
            raise
        self._flock = flock
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        flock, self._flock = self._flock, None
        if flock is not None and flock.is_open:
            with suppress(OSError):
                self._path.unlink()
            flock.close()

    def _sign(self) -> None:
        holder = {"pid": os.getpid(), "command": self._command, "since": time.time()}
        try:
            write_atomic(self._path, json.dumps(holder).encode(), lasting=False)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _holder(self) -> str:
        try:
            holder = json.loads(self._path.read_bytes())
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder["since"])))
            return f"`{holder['command']}` (pid {holder['pid']}, since {since})"
        except (OSError, ValueError, KeyError, TypeError):
            return "another command that has just started"
