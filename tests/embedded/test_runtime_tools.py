"""A tool that nobody made for this runtime: bpftrace, as the distribution ships it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from .compile import program
from .conftest import Segment
from .talk import Program

CALLS = 25


@pytest.mark.skipif(not shutil.which("bpftrace"), reason="bpftrace is not installed")
def test_bpftrace_prints_strings_stacks_and_histograms(segment: Segment, tmp_path: Path) -> None:
    target = program("target", tmp_path, "-fno-omit-frame-pointer", "-lpthread")
    script = (
        f'uprobe:{target}:work {{ printf("hit %d %d %s\\n", pid, arg0, str(arg1)); @stacks[ustack(1)] = count(); }}'
        f" uretprobe:{target}:work {{ @results = lhist(retval, 0, {2 * CALLS}, {CALLS}); @last[pid] = max(retval); }}"
    )
    tool = Program(["bpftrace", "-B", "line", "-e", script], segment.loader())
    assert "Attaching 2 probes" in tool.line()
    while len(hits(tool, target, segment)) < CALLS:  # it does not say when it has attached both
        time.sleep(0.05)
    lines = hits(tool, target, segment)
    assert [re.sub(r"hit \d+ ", "", line) for line in lines] == [
        f"{number} call number {number} of many, many more" for number in range(CALLS)
    ]
    tool.process.send_signal(signal.SIGINT)
    assert tool.process.stdout is not None
    text = tool.process.stdout.read().decode()
    pid = re.findall(r"hit (\d+)", lines[0])[0]
    assert f"@last[{pid}]: {2 * (CALLS - 1)}" in text
    assert re.search(r"^\[0, 25\) +\d+ \|@", text, re.MULTILINE), text
    assert re.search(rf"@stacks\[\n +\S+\n\]: {CALLS}\n", text)


def hits(tool: Program, target: Path, segment: Segment) -> list[str]:
    """Run the target once and return the lines that came of it."""
    subprocess.run([target, str(CALLS)], env=segment.target(), check=True)
    lines: list[str] = []
    until = time.monotonic() + 1
    while time.monotonic() < until and len(lines) < CALLS:
        assert tool.process.stdout is not None
        try:
            line = tool.line(deadline=0.3)
        except AssertionError:
            break
        if line.startswith("hit"):
            lines.append(line)
    return lines
