"""Maps, claims of CPUs and rings under threads and signals, as they are and with sanitizers."""

from __future__ import annotations

import subprocess
import uuid
from pathlib import Path

import pytest

from .conftest import ROOT

SOURCES = (
    "common/log.c", "runtime/process.c", "runtime/segment.c", "runtime/object.c", "runtime/thread.c",
    "runtime/map.c", "runtime/helpers.c", "runtime/helpers_map.c", "runtime/helpers_process.c", "runtime/format.c", "runtime/fault.c",
    "runtime/fault_none.c", "runtime/fault_copy.S", "runtime/tests/stress.c",
)
FLAGS = ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror", "-I."]
SANITIZERS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


@pytest.mark.parametrize(("flags", "rounds"), [(["-O2"], 200_000), (SANITIZERS, 20_000)])
def test_nothing_is_lost_or_there_twice(tmp_path: Path, flags: list[str], rounds: int) -> None:
    folder = ROOT / "embedded"
    maps = sorted(str(path.relative_to(folder)) for path in (folder / "runtime").glob("map_*.c"))
    made = tmp_path / "stress"
    subprocess.run(["gcc", *FLAGS, *flags, *SOURCES, *maps, "-lpthread", "-o", made], cwd=folder, check=True)
    segment = f"stress-{uuid.uuid4().hex[:12]}"
    argv = [str(made), segment, str(rounds)]
    ran = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.splitlines()[-1] == "ring buffer: ok"
    assert not Path(f"/dev/shm/embedded.{segment}").exists()
