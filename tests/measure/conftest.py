"""Trees of other machines, written by hand in the kernel's formats and unpacked below a temporary directory.

A ``.tree`` file has a line ``=== /path`` before each file's content. ``{0..3}`` in a path stands for
several files, and ``{n}`` in their content for the number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from bpfbench.measure.machine.sysroot import Sysroot

# a deadline would be an assertion on the wall clock of a machine that others use, too
settings.register_profile("bpfbench", deadline=None)
settings.load_profile("bpfbench")

MACHINES = Path(__file__).parent / "machines"


def unpack(name: str, directory: Path) -> Sysroot:
    entries = (MACHINES / f"{name}.tree").read_text().split("\n=== ")[1:]
    for entry in entries:
        path, _, content = entry.partition("\n")
        span = re.search(r"\{(\d+)\.\.(\d+)\}", path)
        numbers = range(int(span[1]), int(span[2]) + 1) if span else [None]
        for number in numbers:
            concrete = path.replace(span[0], str(number)) if span else path
            file = directory / concrete.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content.replace("{n}", str(number)) + "\n" if content else "")
    return Sysroot(directory)


@pytest.fixture
def machine(tmp_path: Path) -> Callable[[str], Sysroot]:
    """``machine("intel-laptop")`` → the root of that machine's tree, which the test may change."""

    def make(name: str) -> Sysroot:
        return unpack(name, tmp_path / name)

    return make
