"""Tools of the kinds that people write: the same binaries say the same of the same target on the kernel and here."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import compile
from .compile import ROOT
from .conftest import Segment
from .talk import Program

SOURCE = ROOT / "embedded/tests"
KERNEL = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
# The kernel's tracepoints are found by files, whose file system need not be mounted: then it is, for this program alone.
KERNELS = [
    "unshare", "-m", "sh", "-c",
    "test -e /sys/kernel/tracing/events || mount -t tracefs tracefs /sys/kernel/tracing; exec \"$@\"", "sh",
]  # fmt: skip
TOOLS = ("open", "ring", "signal", "stat", "mount", "calls", "latency", "leak", "maps")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's side of the comparison")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the tools and their target are."""
    tree = tmp_path_factory.mktemp("tools")
    compile.program("tools", tree, *compile.LIBBPF, source=SOURCE)
    compile.program("traced", tree, "-rdynamic", "-fno-omit-frame-pointer", "-lpthread", source=SOURCE)
    compile.bpf_object("tools", tree, "-D__TARGET_ARCH_x86", source=SOURCE)
    return tree


@pytest.fixture
def started() -> Iterator[list[Program]]:
    programs: list[Program] = []
    yield programs
    for program in programs:
        if program.process.poll() is None:
            program.kill()


def lines_of(loader: Program) -> list[str]:
    """Return all that it says to the end; the order of lines from different CPUs is nobody's."""
    loader.end_input()
    lines = []
    while line := loader.line():
        lines.append(line)
    assert loader.process.wait() == 0, loader.errors()
    return sorted(lines)


def trace(
    built: Path, tool: str, loader: dict[str, str], target: dict[str, str], started: list[Program]
) -> list[str]:
    """Start the target, then the tool for its pid; have the target do it all."""
    before = KERNELS if loader is KERNEL else []
    traced = Program([built / "traced"], target)
    started.append(traced)
    assert traced.line() == "READY"
    tracer = Program([*before, built / "tools", built / "tools.bpf.o", f"{tool}_", str(traced.pid), built / "traced"], loader)
    started.append(tracer)
    assert tracer.line() == "READY", tracer.errors()
    assert traced.ask("go") == "DONE"
    lines = lines_of(tracer)
    traced.end_input(b"end\n")
    assert traced.process.wait(20) == 0
    return lines


@pytest.mark.parametrize("tool", TOOLS)
def test_it_says_what_it_says_on_the_kernel(built: Path, segment: Segment, started: list[Program], tool: str) -> None:
    kernel = trace(built, tool, KERNEL, KERNEL, started)
    assert kernel, "the kernel's own says nothing"
    assert trace(built, tool, segment.loader(), segment.target(), started) == kernel


def read_to(terminal: int, end: bytes) -> None:
    """Read from a terminal until it shows that."""
    seen = b""
    while end not in seen:
        ready, _, _ = select.select([terminal], [], [], 20)
        assert ready, seen
        seen += os.read(terminal, 4096)


def typed(built: Path, loader: dict[str, str], shell: dict[str, str], started: list[Program]) -> list[str]:
    """Type three lines into a shell on a terminal, and return what the tool says."""
    ours, theirs = pty.openpty()
    environment = {**shell, "PS1": "ready> ", "TERM": "dumb"}
    argv = ["/bin/bash", "--norc", "--noprofile", "-i"]
    with subprocess.Popen(
        argv, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as bash:
        try:
            read_to(ours, b"ready> ")
            tools: list[str | Path] = [built / "tools", built / "tools.bpf.o", "shell_", str(bash.pid), "/bin/bash"]
            tracer = Program(tools, loader)
            started.append(tracer)
            assert tracer.line() == "READY", tracer.errors()
            os.write(ours, b"echo ready\\> again\n")  # the call of readline that it is in was not seen to begin
            read_to(ours, b"ready> again")
            for n, line in enumerate((b"true first", b": a second one", b"cd /")):
                os.write(ours, line + b"; echo done-$((%d + 1))\n" % n)
                read_to(ours, b"done-%d\r\n" % (n + 1))
            lines = lines_of(tracer)
            os.write(ours, b"exit 3\n")
            assert bash.wait(20) == 3
        finally:
            bash.kill()
            os.close(ours)
            os.close(theirs)
    return lines


def test_what_is_typed_into_a_shell(built: Path, segment: Segment, started: list[Program]) -> None:
    symbols = subprocess.run(["nm", "-D", "/bin/bash"], capture_output=True, text=True, check=False).stdout
    if " T readline\n" not in symbols:
        pytest.skip("this bash has no readline of its own")
    kernel = typed(built, KERNEL, KERNEL, started)
    assert [line.split(";")[0] for line in kernel] == ["bash : a second one", "bash cd /", "bash true first"]
    assert typed(built, segment.loader(), segment.target(), started) == kernel
