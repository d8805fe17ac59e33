"""flushfs for real: mounted, written to, and its power cut. What is left is looked at in the durable directory."""

import errno
import json
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.process.child import Child
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.reaper import Reaper

ROOT = Path(__file__).parents[2]
DEADLINE = 30.0


def obstacle() -> str | None:
    """Say what keeps this machine from mounting one."""
    if os.geteuid() != 0:
        return "needs root: mounts a file system"
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse here"
    return None if Path("/usr/include/fuse3/fuse.h").exists() else "libfuse3-dev is not installed"


OBSTACLE = obstacle()
pytestmark = [pytest.mark.system, pytest.mark.skipif(OBSTACLE is not None, reason=str(OBSTACLE))]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("build") / "tree"
    workload.make(load(Layout.of(ROOT)).packages["flushfs"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree / "flushfs"


class Disk:
    """A mounted flushfs: ``at`` is what programs see, ``kept`` what the disk holds."""

    def __init__(self, program: Path, reaper: Reaper, work: Path, latency: int) -> None:
        self.at, self.kept, live = work / "mount", work / "durable", work / "live"
        for folder in (self.at, self.kept, live):
            folder.mkdir()
        argv = [str(program), "--live", str(live), "--durable", str(self.kept), "--mount", str(self.at), "--latency", str(latency)]
        self.child: Child = reaper.start(Command(tuple(argv), minimal_env(work), work, "flushfs", stdin=True), work)
        self.child.expect("^READY ", DEADLINE)

    def say(self, command: str, word: str) -> dict[str, Any]:
        self.child.send(command)
        return dict(json.loads(self.child.expect(f"^{word} ", DEADLINE).partition(" ")[2]))

    def drop(self) -> dict[str, Any]:
        return self.say("drop", "DROPPED")


@pytest.fixture
def disk(program: Path, tmp_path: Path) -> Iterator[Disk]:
    with Reaper("test-flushfs") as reaper:
        disk = Disk(program, reaper, tmp_path, latency=0)
        yield disk
        if disk.child.alive:
            disk.child.send("quit")
            assert disk.child.wait(DEADLINE).code == 0
    assert not os.path.ismount(disk.at)


def append(path: Path, data: bytes, flush: bool = False) -> None:
    with path.open("ab", buffering=0) as file:
        file.write(data)
        if flush:
            os.fdatasync(file.fileno())


def test_what_is_not_flushed_is_seen_but_not_kept(disk: Disk) -> None:
    append(disk.at / "log", b"one")
    assert (disk.at / "log").read_bytes() == b"one"
    assert list(disk.kept.iterdir()) == []
    assert disk.say("counts", "COUNTS")["pending_bytes"] == 3
    append(disk.at / "log", b" two", flush=True)
    append(disk.at / "log", b" three")
    assert (disk.at / "log").read_bytes() == b"one two three"
    assert (disk.kept / "log").read_bytes() == b"one two"
    assert disk.drop()["pending_bytes"] == len(b" three")


def test_flushing_one_file_keeps_no_data_of_another_but_all_names(disk: Disk) -> None:
    append(disk.at / "a", b"data of a")
    append(disk.at / "b", b"data of b", flush=True)
    assert (disk.kept / "a").read_bytes() == b""
    assert (disk.kept / "b").read_bytes() == b"data of b"


def test_what_is_written_while_a_flush_lasts_is_left_to_the_next_one(disk: Disk) -> None:
    disk.child.send("latency 200000000")
    disk.child.expect("^OK latency", DEADLINE)
    with (disk.at / "log").open("ab", buffering=0) as file, ThreadPoolExecutor(1) as threads:
        file.write(b"early")
        flush = threads.submit(os.fdatasync, file.fileno())
        while disk.say("counts", "COUNTS")["begun"] == 0:
            time.sleep(0.01)
        file.write(b" late")
        (disk.at / "also late").touch()
        flush.result()
        assert (disk.kept / "log").read_bytes() == b"early"
        assert not (disk.kept / "also late").exists()
        os.fdatasync(file.fileno())
    assert (disk.kept / "log").read_bytes() == b"early late"
    assert (disk.kept / "also late").exists()


def test_a_rename_over_a_file_is_kept_whole_or_not_at_all(disk: Disk) -> None:
    append(disk.at / "manifest", b"old", flush=True)
    append(disk.at / "new", b"new", flush=True)
    (disk.at / "new").rename(disk.at / "manifest")
    assert (disk.kept / "manifest").read_bytes() == b"old"
    directory = os.open(disk.at, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
    assert (disk.kept / "manifest").read_bytes() == b"new"
    assert not (disk.kept / "new").exists()


def test_truncation_and_what_was_written_behind_it(disk: Disk) -> None:
    append(disk.at / "log", b"0123456789", flush=True)
    append(disk.at / "log", b"abcdef")
    os.truncate(disk.at / "log", 12)
    assert disk.say("counts", "COUNTS")["pending_bytes"] == 2
    append(disk.at / "log", b"!", flush=True)
    assert (disk.kept / "log").read_bytes() == b"0123456789ab!"


def test_after_the_loss_nothing_can_be_written_or_flushed_and_nothing_changes_what_is_kept(disk: Disk) -> None:
    with (disk.at / "log").open("ab", buffering=0) as file:
        file.write(b"kept")
        os.fsync(file.fileno())
        file.write(b"lost")
        disk.drop()
        for attempt in (lambda: file.write(b"more"), lambda: os.fsync(file.fileno()), (disk.at / "log").unlink):
            with pytest.raises(OSError) as error:
                attempt()
            assert error.value.errno == errno.EIO
    assert (disk.kept / "log").read_bytes() == b"kept"


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_done_a_flush_of_everything_makes_both_sides_equal(disk: Disk, seed: int) -> None:
    choose = random.Random(seed)
    names = [f"{letter}" for letter in "abcdef"]
    for _ in range(300):
        name, other = disk.at / choose.choice(names), disk.at / choose.choice(names)
        what = choose.randrange(6)
        if what <= 1 or not name.exists():
            append(name, choose.randbytes(choose.randrange(1, 200)), flush=choose.random() < 0.2)
        elif what == 2:
            with name.open("r+b", buffering=0) as file:
                file.seek(choose.randrange(300))
                file.write(choose.randbytes(20))
        elif what == 3:
            os.truncate(name, choose.randrange(300))
        elif what == 4:
            name.rename(other)
        else:
            name.unlink()
    for path in disk.at.iterdir():
        append(path, b"end", flush=True)
    seen = {path.name: path.read_bytes() for path in disk.at.iterdir()}
    assert seen == {path.name: path.read_bytes() for path in disk.kept.iterdir()}
    assert disk.say("counts", "COUNTS")["pending_names"] == 0


def test_a_flush_takes_as_long_as_it_is_told_to(disk: Disk) -> None:
    disk.child.send("latency 20000000")
    disk.child.expect("^OK latency", DEADLINE)
    for number in range(5):
        append(disk.at / "log", b"%d" % number, flush=True)
    counts = disk.say("counts", "COUNTS")
    assert counts["flushes"] == 5
    assert counts["flush_ns"] >= 5 * 20_000_000, "its own clock: at least what was asked for"


@pytest.mark.parametrize("end", ["signal", "end of input", "unknown command"])
def test_however_it_ends_nothing_stays_mounted(disk: Disk, end: str) -> None:
    append(disk.at / "log", b"x")
    if end == "signal":
        os.kill(disk.child.pid, signal.SIGTERM)
    else:
        disk.child.send("quit" if end == "end of input" else "nonsense")
    assert disk.child.wait(DEADLINE).code == (3 if end == "unknown command" else 0)
    assert not os.path.ismount(disk.at)


def test_a_place_that_cannot_be_mounted_on_is_named(program: Path, tmp_path: Path) -> None:
    argv = (str(program), "--live", str(tmp_path), "--durable", str(tmp_path), "--mount", str(tmp_path / "nowhere"))
    with Reaper("test-flushfs") as reaper:
        child = reaper.start(Command(argv, minimal_env(tmp_path), tmp_path, "flushfs", stdin=True), tmp_path)
        assert "nowhere" in child.expect("^ERROR ", DEADLINE)
        assert child.wait(DEADLINE).code == 2
