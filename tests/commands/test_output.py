"""Output that cannot be written is an error of one line, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
from bpfbench.commands.output import guard_output
import sys
guard_output()
for number in range({lines}):
    print("line", number)
sys.stderr.write("done\\n")
"""


def run(lines, out, **environment):
    command = [sys.executable, "-c", CODE.format(lines=lines)]
    return subprocess.run(command, check=False, stdout=out, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})


@pytest.mark.parametrize("lines", [0, 1, 10_000])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told_once_and_ends_nothing_before_its_time(lines, unbuffered):
    with Path("/dev/full").open("w") as full:
        ended = run(lines, full, PYTHONUNBUFFERED=unbuffered)
    told = ["done"]
    if lines:
        told += ["ERROR: standard output cannot be written: No space left on device", "  → make room where it goes to"]
    assert ended.stderr.splitlines() == told
    assert ended.returncode == (3 if lines else 0)


def test_output_that_can_be_written_is_written_whole(tmp_path):
    with (tmp_path / "out").open("w") as out:
        ended = run(10_000, out)
    assert (ended.returncode, ended.stderr) == (0, "done\n")
    assert (tmp_path / "out").read_text().splitlines() == [f"line {number}" for number in range(10_000)]


@pytest.mark.parametrize("arguments", [("list", "--all"), ("plan",), ("results", "--json"), ("info", "report"), ("run", "system:uprobe")])
def test_every_command_tells_it_in_one_line(checkout, arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "doit", *arguments]
        environment = {**os.environ, "PYTHONPATH": f"{checkout.plugins}:{checkout.source}"}
        ended = subprocess.run(command, check=False, cwd=checkout.root, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    assert "Traceback" not in ended.stderr
    assert ended.stderr.count("standard output cannot be written: No space left on device") == 1
    assert ended.returncode == 3
