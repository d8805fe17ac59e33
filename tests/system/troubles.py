"""Ways to bring bad luck about: small disks, full disks, and what killed runs leave behind."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bpfbench.process import forkserver
from bpfbench.process.leftovers import MARK

from .bad_luck import Checkout


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Path]:
    """Mount an empty disk of this size at ``place``, which is made."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "small", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, spare: int) -> Path:
    """Write a file that leaves ``spare`` bytes of a disk, on which others may be writing."""
    path = disk / "filler"
    with path.open("wb") as file:
        while (room := _room(disk) - spare) > 0:
            with suppress(OSError):  # somebody was faster
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, room)
    return path


def _room(disk: Path) -> int:
    free = os.statvfs(disk)
    return free.f_bavail * free.f_bsize


@dataclass(frozen=True)
class Behind:
    """A process and files that somebody left."""

    process: subprocess.Popen[bytes]
    files: tuple[Path, ...]


@contextmanager
def leave_behind(checkout: Checkout) -> Iterator[tuple[Behind, Behind]]:
    """Yield what a killed run of this checkout left (a marked process whose reaper is dead, shared memory, half-made things), and
    the like of somebody else."""
    work = checkout.state / "work" / "4194305-cafe" / "sample-3"
    making = checkout.store.root / f".making-{'0' * 32}-uprobe" / "deadbeef" / "tree"
    for folder in (work, making, checkout.state / "progress"):
        folder.mkdir(parents=True, exist_ok=True)
    shown = checkout.shown("report.md")
    mine = (
        checkout.state / "lock",  # a holder that was killed leaves it
        Path(f"/dev/shm/{checkout.mark}.4194305-cafe.sample-3"),
        work / "loader.out",
        making / "victim",
        checkout.state / "progress" / "run_tiny.json",
        checkout.state / ".code.json.4194305",
        checkout.root / ".doit.db.4194305.tmp",
        shown.with_name(".report.md.0123456789ab.tmp"),
        checkout.state / "pointers" / ".report.json.0123456789ab.tmp",
        checkout.state / "toolchain" / ".files.json.4194305",
    )
    theirs = (Path(f"/dev/shm/bpfbench-test-{os.getpid()}"), checkout.state / "logs" / "build_uprobe" / "kept.err")
    for path in (*mine, *theirs):
        path.write_text("{}")
    stale, foreign = (Behind(_sleep(mark), files) for mark, files in ((checkout.mark, mine), ("bpfbench-0123", theirs)))
    try:
        yield stale, foreign
    finally:
        for behind in (stale, foreign):
            behind.process.kill()
            behind.process.wait()
            for path in behind.files:
                path.unlink(missing_ok=True)


def _sleep(mark: str) -> subprocess.Popen[bytes]:
    """Start a process that looks as if it had been started below a reaper that has died since."""

    def tag() -> None:
        # Whose number no reaper has: process ids end below 2^22.
        resource.setrlimit(forkserver.TAG_LIMIT, ((1 << 22) << 40, forkserver.TAG))

    return subprocess.Popen(["sleep", "1000"], env={MARK: mark, "PATH": os.environ["PATH"]}, preexec_fn=tag, start_new_session=True)  # noqa: PLW1509
