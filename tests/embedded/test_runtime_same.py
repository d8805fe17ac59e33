"""What programs and loaders do has the same outcome on the kernel and here: one binary, run on both, prints the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, Segment
from .talk import Program

TESTS = ROOT / "embedded/runtime/tests"
LIBBPF = ["-l:libbpf.a", "-lelf", "-lz"]
KERNEL = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

needs_kernel = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's side of the comparison")


def compile_c(source: Path, output: Path, *options: str) -> Path:
    argv = ["gcc", "-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror", source, "-o", output, *options]
    subprocess.run(argv, check=True)
    return output


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the test programs are."""
    tree = tmp_path_factory.mktemp("same")
    compile_c(TESTS / "maps.c", tree / "maps", *LIBBPF)
    compile_c(TESTS / "events.c", tree / "events", *LIBBPF)
    compile_c(TESTS / "target.c", tree / "target", "-fno-omit-frame-pointer", "-lpthread")
    include = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    subprocess.run(
        ["clang", "-target", "bpf", "-O2", "-g", "-mcpu=v3", f"-I/usr/include/{include}", "-c", TESTS / "events.bpf.c",
         "-o", tree / "events.bpf.o"],
        check=True,
    )
    return tree


@needs_kernel
def test_maps_of_every_kind(built: Path, segment: Segment) -> None:
    kernel = subprocess.run([built / "maps"], env=KERNEL, capture_output=True, text=True, check=True)
    own = subprocess.run([built / "maps"], env=segment.loader(), capture_output=True, text=True, check=True)
    assert "events: made" in kernel.stdout
    assert own.stdout.splitlines() == kernel.stdout.splitlines()
    assert not segment.file.exists()


def events(built: Path, loader_env: dict[str, str], target_env: dict[str, str], *arguments: str) -> list[str]:
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
def test_events_tail_calls_stacks_cookies_callbacks_and_strings(built: Path, segment: Segment, engine: str) -> None:
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
