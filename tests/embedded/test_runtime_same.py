"""What programs and loaders do has the same outcome on the kernel and here: one binary, run on both."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from .compile import LIBBPF, bpf_object, program
from .conftest import ROOT, Segment
from .talk import Program

KERNEL = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

needs_kernel = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's side of the comparison")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the test programs are."""
    tree = tmp_path_factory.mktemp("same")
    program("maps", tree, *LIBBPF)
    program("events", tree, *LIBBPF)
    program("target", tree, "-fno-omit-frame-pointer", "-lpthread")
    bpf_object("events", tree)
    return tree


@needs_kernel
def test_maps_of_every_kind(built: Path, segment: Segment) -> None:
    kernel = subprocess.run([built / "maps"], env=KERNEL, capture_output=True, text=True, check=True)
    own = subprocess.run([built / "maps"], env=segment.loader(), capture_output=True, text=True, check=True)
    assert "events: made" in kernel.stdout
    assert own.stdout.splitlines() == kernel.stdout.splitlines()
    assert not segment.file.exists()


def test_every_kind_of_map_is_made_by_a_test() -> None:
    kinds = set(re.findall(r"\[(BPF_MAP_TYPE_\w+)\]", (ROOT / "embedded/runtime/map.c").read_text()))
    assert len(kinds) > 10
    assert kinds <= set(re.findall(r"BPF_MAP_TYPE_\w+", (ROOT / "embedded/runtime/tests/maps.c").read_text()))


def events(
    built: Path, loader_env: dict[str, str], target_env: dict[str, str], *arguments: str
) -> list[str]:
    loader = Program([built / "events", built / "events.bpf.o", built / "target"], loader_env)
    assert loader.line() == "READY", loader.errors()
    subprocess.run([built / "target", *arguments], env=target_env, check=True)
    loader.end_input()
    lines = []
    while line := loader.line():
        lines.append(line)
    assert loader.process.wait() == 0
    return lines


@needs_kernel
@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_events_tail_calls_stacks_cookies_callbacks_and_strings(
    built: Path, segment: Segment, engine: str
) -> None:
    kernel = events(built, KERNEL, KERNEL, "60")
    own = events(built, segment.loader(), segment.target(EMBEDDED_ENGINE=engine), "60")
    assert len([line for line in kernel if line.startswith("event ")]) == 54, "every tenth of 60 is discarded"
    assert own == kernel


def test_threads_share_maps_and_lose_nothing(built: Path, segment: Segment) -> None:
    calls, threads = 3000, 6
    lines = events(built, segment.loader(), segment.target(), str(calls), str(threads))
    results = dict(line.split(": ") for line in lines if line.startswith(("result ", "sum ")))
    each = sum(range(calls)) * threads
    assert int(results["result 3"]) == 2 * each, "atomic adds in an array"
    assert int(results["result 4"]) == each, "behind a tail call"
    assert int(results["result 5"]) == calls * threads
    assert int(results["result 6"]) == 0
    sums = sum(int(value) for name, value in results.items() if name.startswith("sum "))
    assert sums == calls * threads, "plain adds to values per CPU"
