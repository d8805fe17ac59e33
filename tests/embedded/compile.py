"""Compiling the runtime's test programs."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "embedded/runtime/tests"
LIBBPF = ("-l:libbpf.a", "-lelf", "-lz")
_FLAGS = ("-D_GNU_SOURCE", "-O1", "-g", "-Wall", "-Wextra", "-Werror")


def program(name: str, tree: Path, *options: str, source: Path = TESTS) -> Path:
    """Compile one C file of the tests."""
    made = tree / name
    subprocess.run(["gcc", *_FLAGS, source / f"{name}.c", "-o", made, *options], check=True)
    return made


def bpf_object(name: str, tree: Path, *options: str, source: Path = TESTS) -> Path:
    """Compile one file of BPF programs."""
    made = tree / f"{name}.bpf.o"
    multiarch = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    argv = ["clang", "-target", "bpf", "-O2", "-g", "-mcpu=v3", f"-I/usr/include/{multiarch}"]
    subprocess.run([*argv, *options, "-c", source / f"{name}.bpf.c", "-o", made], check=True)
    return made
