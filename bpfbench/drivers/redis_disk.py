"""Where Redis writes its log: a flushfs, whose flush is honest and as slow as it is told, or the disk that this machine has."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from bpfbench.drivers.common import START_DEADLINE, tell
from bpfbench.drivers.pair import ready_or_refused
from bpfbench.process.child import Child
from bpfbench.process.command import Command, minimal_env
from bpfbench.sampling import Bench

POWER, KILL = "power loss", "kill -9"
PROBES = 20
"""Flushes by which a disk's latency is measured."""
APPENDED = b"x" * 64
IN_MEMORY = ("tmpfs", "ramfs", "devtmpfs")
UNFLUSHED = ("nobarrier", "barrier=0")
QUICKEST = 20.0
"""Microseconds: no medium that keeps its data without power is known to be flushed, file system included, in less."""


class Disk(Protocol):
    """A place for a log."""

    data: Path
    """Where the log is to be."""

    @property
    def inside(self) -> int | None:
        """A process that sees it there, if not all do."""
        ...

    def cut(self) -> None:
        """Lose power, where that can be had."""
        ...

    def kept(self) -> Mapping[str, Path]:
        """Return what is left after a crash: how the crash came about → where its data are."""
        ...

    def flushes(self) -> tuple[int, float]:
        """Return how many flushes there were so far, and the microseconds that they took; none where nobody counts."""
        ...

    def describe(self) -> dict[str, Any]:
        """Return device, file system and flush latency, for the result."""
        ...

    def stop(self) -> None:
        """Leave nothing behind but files."""
        ...


class FlushDisk:
    """A flushfs that is mounted where only its own tree, and those that enter it, can see it: no mount outlives them."""

    def __init__(self, bench: Bench, work: Path, latency_us: int) -> None:
        self.latency = latency_us
        live, self._durable, self.data = work / "live", work / "durable", work / "mount"
        for folder in (live, self._durable, self.data):
            folder.mkdir()
        self._live = live
        argv = (
            str(bench.outputs["flushfs"] / "flushfs"), "--live", str(live), "--durable", str(self._durable), "--mount", str(self.data),
            "--latency", str(1000 * latency_us),
        )  # fmt: skip
        command = Command(argv, minimal_env(work), work, "flushfs", stdin=True, cpus=bench.other_cpus, private_mounts=True)
        self.child: Child = bench.reaper.start(command, work)
        try:
            ready_or_refused(self.child.expect("^(READY|ERROR) ", START_DEADLINE))
        except BaseException:
            self.child.stop()
            raise

    @property
    def inside(self) -> int | None:
        """The file system's own process."""
        return self.child.pid

    def cut(self) -> None:
        """From here on nothing becomes durable any more."""
        tell(self.child, "drop", "DROPPED", START_DEADLINE)

    def kept(self) -> Mapping[str, Path]:
        """After a power loss there is what was flushed, after a kill what was written."""
        return {POWER: self._durable, KILL: self._live}

    def flushes(self) -> tuple[int, float]:
        """See ``Disk``."""
        counts = tell(self.child, "counts", "COUNTS", START_DEADLINE)
        return counts["flushes"], counts["flush_ns"] / 1e3

    def describe(self) -> dict[str, Any]:
        """See ``Disk``."""
        below = mount_of(self._durable, Path("/proc/self/mountinfo").read_text(errors="replace"))
        place = f"log on flushfs, above {below['file_system']} on {below['device']}"
        remark = f"{place}; a flush takes {self.latency} µs at least, one after another"
        return {"device": "flushfs", "file_system": "fuse.flushfs", "asked_us": self.latency, "honest": True, "remark": remark}

    def stop(self) -> None:
        """End it; a flush that still waits is given up."""
        self.child.stop()


class RealDisk:
    """The disk that the samples' directory lies on. Nobody can cut its power: a crash is a kill."""

    def __init__(self, work: Path) -> None:
        self.data = work / "data"
        self.data.mkdir()
        self._latency = flush_latency(self.data)

    @property
    def inside(self) -> int | None:
        """Everybody sees it."""
        return None

    def cut(self) -> None:
        """There is no switch."""

    def kept(self) -> Mapping[str, Path]:
        """After a kill there is what was written."""
        return {KILL: self.data}

    def flushes(self) -> tuple[int, float]:
        """Nobody counts."""
        return 0, 0.0

    def describe(self) -> dict[str, Any]:
        """Return what is known of the disk, and why its flush is not to be believed if it is not."""
        found = mount_of(self.data, Path("/proc/self/mountinfo").read_text(errors="replace"))
        found["write_cache"] = _write_cache(self.data)
        doubt = doubts(found["file_system"], found["options"].split(","), self._latency)
        remark = f"log on {found['device']}, {found['file_system']} ({found['options']}), write cache: {found['write_cache']}"
        about = {"flush_us": round(self._latency, 1), "honest": False if doubt else None, "remark": remark}
        return {**found, **about, "doubt": f"the flush of {found['device']} is not honest: {doubt}" if doubt else None}

    def stop(self) -> None:
        """There is nothing to stop."""


def flush_latency(folder: Path) -> float:
    """Return the median microseconds of an fdatasync after a small append, which is what a log needs."""
    path, spent = folder / "probe", []
    with path.open("ab", buffering=0) as file:
        for _ in range(PROBES):
            file.write(APPENDED)
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - begun)
    path.unlink()
    return 1e6 * statistics.median(spent)


def mount_of(path: Path, mountinfo: str) -> dict[str, Any]:
    """Return device, file system and mount options of a path, from the text of ``/proc/self/mountinfo``."""
    found: dict[str, Any] = {"device": "unknown", "file_system": "unknown", "options": ""}
    longest = -1
    for line in mountinfo.splitlines():
        mount, _, rest = line.partition(" - ")
        words, behind = mount.split(), rest.split()
        place = words[4].replace("\\040", " ")
        if path.is_relative_to(place) and len(place) >= longest:
            longest = len(place)
            options = dict.fromkeys([*words[5].split(","), *behind[2].split(",")])
            found = {"device": behind[1], "file_system": behind[0], "options": ",".join(options)}
    return found


def doubts(file_system: str, options: list[str], latency_us: float) -> str | None:
    """Return why a flush on this disk does not do what it should, as far as that shows; None: nothing speaks against it."""
    if file_system in IN_MEMORY:
        return f"{file_system} lies in memory: a flush does nothing"
    if ignored := [option for option in options if option in UNFLUSHED]:
        return f"mounted with {ignored[0]}: the device is never told to flush"
    if latency_us < QUICKEST:
        return f"a flush takes {latency_us:.1f} µs: nothing can have reached a medium"
    return None


def _write_cache(path: Path) -> str:
    """Return what the kernel believes of the device's cache: with «write through» it never sends a flush."""
    device = path.stat().st_dev
    block = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for place in (block, block.resolve().parent):  # a partition has no queue of its own
        try:
            return (place / "queue/write_cache").read_text().strip()
        except OSError:
            continue
    return "unknown"
