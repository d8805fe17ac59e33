"""The cache of the fuse experiment, step by step: a server that is told when to take a request and when to answer, a client what to ask.

No FUSE is needed for that: the programs know a server by what it reads and writes, and a file system by its number.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import workload
from bpfbench.layout import Layout
from bpfbench.model.load import load

from ..embedded.conftest import Segment
from ..embedded.talk import Program, eventually
from .packages_here import Tree

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.system

LOOP = """
import os, sys
print("READY", flush=True)
while line := sys.stdin.readline():
    try:
        print(repr(eval(line)), flush=True)
    except OSError as error:
        print(repr(-error.errno), flush=True)
"""
LOOKUP, SETATTR, READLINK, UNLINK, OPEN, READ, WRITE, RELEASE, INIT = 1, 4, 5, 10, 14, 15, 16, 18, 26
WRITEBACK, SYMLINKS = 1 << 16, 1 << 23
O_TRUNC = 0o1000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = tmp_path_factory.mktemp("fuse") / "tree"
    workload.make(load(Layout.of(ROOT)).packages["fuse"], ROOT, tree, cache=tmp_path_factory.mktemp("toolchain"))
    return tree


class Python(Program):
    """A process that evaluates what it is told."""

    def __init__(self, env: dict[str, str]) -> None:
        super().__init__([sys.executable, "-I", "-S", "-c", LOOP], env)
        assert self.line() == "READY"

    def do(self, expression: str) -> Any:
        return eval(self.ask(expression))


class Cache:
    """Server, client and loader, and a directory in place of a file system."""

    def __init__(self, made: Path, runtime: Path, folder: Path, *options: str, flags: int = 0) -> None:
        (folder / "work").mkdir()
        # one file system with one number for all of it, which overlays need not have
        self.at = Path(tempfile.mkdtemp(prefix="test-fuse-", dir="/dev/shm"))
        (self.at / "a").write_text("a")
        self.segment = Segment(runtime, folder / "work")
        self.server, self.client = (
            Python(self.segment.target(EMBEDDED_STATUS=str(folder / "work" / f"{name}.json"))) for name in ("server", "client")
        )
        processes = ("--server", str(self.server.pid), "--client", str(self.client.pid))
        self.loader = Program([made / "loader", "--object", made / "program.bpf.o", *processes, *options], self.segment.loader())
        self.loader.json("READY")
        self.server.do("globals().update(pipe=os.pipe(), null=os.open('/dev/null', os.O_WRONLY))")
        assert self.loader.ask(f"device {self.at.stat().st_dev}") == "OK device"
        self.unique = 0
        self.take(INIT, struct.pack("IIII", 7, 38, 0, 0))
        self.answer(struct.pack("IIII", 7, 38, 0, flags) + bytes(48))
        self.fd = self.client.do(f"os.open({str(self.at)!r}, os.O_DIRECTORY)")
        self.ask("os.fstat(fd).st_ino")

    def take(self, opcode: int, body: bytes = bytes(16), *, first: int | None = None) -> None:
        """Let the server be handed a request; only its ``first`` bytes at first."""
        self.unique += 2
        request = struct.pack("IIQQIIII", 40 + len(body), opcode, self.unique, 1, 0, 0, 0, 0) + body
        for size in (first, len(request) - first) if first else (len(request),):
            self.server.do(f"os.write(pipe[1], {request[:size]!r})")
            self.server.do(f"len(os.read(pipe[0], {size}))")
            request = request[size:]

    def answer(self, body: bytes = b"", *, error: int = 0) -> None:
        """Let the server answer its last request."""
        header = struct.pack("IiQ", 16 + len(body), error, self.unique)
        self.server.do(f"os.writev(null, [{header!r}] + [{body!r}] * {bool(body)})")

    def ask(self, expression: str) -> tuple[Any, dict[str, int]]:
        """Return what the client finds, and what was counted meanwhile."""
        before = self.counters()
        found = self.client.do(re.sub(r"\bfd\b", str(self.fd), expression))
        return found, {name: more for name, now in self.counters().items() if (more := now - before[name])}

    def counters(self) -> dict[str, int]:
        found: dict[str, int] = self.loader.json("COUNTERS", "read")
        return found

    def mode(self) -> str:
        """Ask for a file's permissions: ``kept`` (asked, and kept), ``hit`` or ``asked``; they must be the right ones."""
        found, counted = self.ask("os.stat('a', dir_fd=fd, follow_symlinks=False).st_mode")
        assert found == (self.at / "a").stat().st_mode
        if counted == {"stat_hits": 1}:
            return "hit"
        assert counted.pop("stat_misses") == 1
        return "kept" if counted == {"kept": 1} else "asked"

    def end(self) -> None:
        for one in (self.client, self.server, self.loader):
            one.kill()
        self.segment.file.unlink(missing_ok=True)
        shutil.rmtree(self.at)


Make = Callable[..., Cache]


@pytest.fixture
def cache(made: Path, tree: Tree, tmp_path: Path) -> Iterator[Make]:
    caches: list[Cache] = []

    def make(*options: str, flags: int = 0) -> Cache:
        caches.append(Cache(made, tree("embedded"), tmp_path, *options, flags=flags))
        return caches[-1]

    yield make
    for one in caches:
        one.end()


def test_from_before_a_change_is_made_until_it_is_answered_nothing_is_kept_or_answered(cache: Make) -> None:
    one = cache()
    assert [one.mode() for _ in range(3)] == ["kept", "hit", "hit"]
    one.take(SETATTR)
    assert one.mode() == "asked", "the change may be made at any moment: what was kept before is not true for sure"
    (one.at / "a").chmod(0o600)
    assert one.mode() == "asked", "and it is not known whether this is from before or after"
    one.answer()
    assert [one.mode() for _ in range(2)] == ["kept", "hit"]


def test_two_changes_at_a_time(cache: Make) -> None:
    one = cache()
    one.take(WRITE)
    first = one.unique
    one.take(UNLINK)
    one.answer(error=-13)
    assert one.mode() == "asked", "one is under way still"
    one.unique = first
    one.answer()
    one.answer()  # the same once more, which was not asked for
    assert [one.mode() for _ in range(2)] == ["kept", "hit"]


def test_a_request_ends_what_is_kept_unless_it_is_known_to_change_nothing(cache: Make) -> None:
    one = cache()
    flags = struct.pack
    for opcode, body, ends in (
        (LOOKUP, bytes(16), False), (READ, bytes(40), False), (READLINK, b"", False), (OPEN, flags("II", 0, 0), False),
        (OPEN, flags("II", O_TRUNC, 0), True), (RELEASE, bytes(24), True), (60, bytes(8), True), (600, bytes(8), True),
    ):  # fmt: skip
        one.mode()
        one.take(opcode, body)
        one.answer()
        assert one.mode() == ("kept" if ends else "hit"), opcode


def test_a_request_that_is_read_in_parts(cache: Make) -> None:
    one = cache()
    one.mode()
    one.take(WRITE, bytes(2000), first=80)
    assert one.mode() == "asked"
    one.answer()
    assert one.mode() == "kept"


def test_reading_is_a_change_where_it_changes_times(cache: Make) -> None:
    one = cache("--reads-change")
    one.mode()
    one.take(READ, bytes(40))
    one.answer()
    assert one.mode() == "kept"


@pytest.mark.parametrize("flags", [WRITEBACK, SYMLINKS])
def test_nothing_is_kept_where_the_kernel_may_keep_something_back(cache: Make, flags: int) -> None:
    one = cache(flags=flags)
    assert {one.mode() for _ in range(3)} == {"asked"}


def test_a_listing_is_answered_whole_and_then_it_is_at_its_end(cache: Make) -> None:
    one = cache()
    listing = "sorted(os.listdir(fd))"
    assert one.ask(listing)[0] == ["a"]
    found, counted = one.ask(listing)
    assert (found, counted.get("list_hits"), counted.get("list_ends")) == (["a"], 1, 1)
    one.take(UNLINK)
    (one.at / "b").write_text("b")
    one.answer()
    found, counted = one.ask(listing)
    assert (found, "list_hits" in counted) == (["a", "b"], False)


def test_descriptors_of_one_open_directory_share_a_position(cache: Make) -> None:
    one = cache()
    one.client.do("globals().update(libc=__import__('ctypes').CDLL(None), room=__import__('ctypes').create_string_buffer(4096))")
    read, whole = "libc.getdents64({}, room, 4096)", 3 * 24
    first, second = read.format("fd"), read.format("two")
    assert one.ask(f"({first}, {first}, os.lseek(fd, 0, 1))")[0][:2] == (whole, 0)
    end = one.ask("os.lseek(fd, 0, 1)")[0]
    one.client.do(f"globals().update(two=os.dup({one.fd}))")
    there, again = "os.lseek(two, 0, 1)", "os.lseek({}, 0, 0)".format
    found, counted = one.ask(f"({again('two')}, {first}, {there}, {second}, {first}, {again('fd')}, {second}, {second})")
    assert found == (0, whole, end, 0, 0, 0, whole, 0)
    assert (counted["list_hits"], counted["list_ends"], counted.get("list_misses")) == (2, 3, None)
    # who asks for less room than the listing needs gets what the kernel gives
    assert one.ask("(os.lseek(fd, 0, 0), libc.getdents64(fd, room, 30), libc.getdents64(fd, room, 4096))")[0] == (0, 24, 48)

def test_a_number_that_becomes_another_directory(cache: Make) -> None:
    one = cache()
    (one.at / "inner").mkdir()
    (one.at / "inner" / "a").write_text("longer")
    ask = "os.stat('a', dir_fd=fd).st_size"
    assert [one.ask(ask)[0] for _ in range(2)] == [1, 1]
    one.client.do(f"os.dup2(os.open({str(one.at / 'inner')!r}, os.O_DIRECTORY), {one.fd})")
    assert [one.ask(ask)[0] for _ in range(2)] == [6, 6]
    one.client.do(f"(os.close({one.fd}), os.open({str(one.at)!r}, os.O_DIRECTORY))")
    assert [one.ask(ask)[0] for _ in range(2)] == [1, 1]


def test_names_that_may_lead_elsewhere_are_never_kept(cache: Make) -> None:
    one = cache()
    for name in ("..", f"../{one.at.name}/a", "./a", f"{one.at}/a"):
        for _ in range(2):
            assert one.ask(f"os.stat({name!r}, dir_fd=fd).st_ino > 0") == (True, {"uncacheable": 1})
    assert one.ask("os.stat('a' * 60, dir_fd=fd)")[1] == {"stat_misses": 1, "kept": 1}
    assert one.ask("os.stat('a' * 64, dir_fd=fd)")[1] == {"uncacheable": 1}


@pytest.mark.parametrize("call", ["os.setgroups([])", "os.setresuid(-1, -1, -1)", "os.closerange(900, 910)"])
def test_what_cannot_be_followed_ends_all_answering(cache: Make, call: str) -> None:
    if "setgroups" in call and os.geteuid() != 0:
        pytest.skip("needs root: sets groups")
    one = cache()
    assert [one.mode() for _ in range(2)] == ["kept", "hit"]
    one.client.do(call)
    assert {one.mode() for _ in range(2)} == {"asked"}


def test_a_failure_to_open_is_kept_for_the_same_flags(cache: Make) -> None:
    one = cache()
    call = "os.open('none', os.O_RDONLY, dir_fd=fd)"
    assert [one.ask(call) for _ in range(2)] == [(-2, {"open_misses": 1, "kept": 1}), (-2, {"open_hits": 1})]
    assert one.ask("os.open('none', os.O_RDWR, dir_fd=fd)")[1] == {"open_misses": 1, "kept": 1}
    found, counted = one.ask("os.open('none', os.O_RDWR | os.O_CREAT, dir_fd=fd)")
    assert (found > 0, counted) == (True, {"open_misses": 1})


@pytest.mark.parametrize("under_way", [False, True])
def test_a_server_that_is_killed_is_not_answered_for(cache: Make, under_way: bool) -> None:
    one = cache()
    assert [one.mode() for _ in range(2)] == ["kept", "hit"]
    if under_way:
        one.take(SETATTR)
        assert one.mode() == "asked"
    os.kill(one.server.pid, signal.SIGKILL)
    eventually(lambda: one.mode() == "asked", "the cache is off")
    assert json.loads(one.segment.status.with_name("client.json").read_text())["missed"] == 0
