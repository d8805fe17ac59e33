"""The code of the embedded engines beside that of the kernel's JIT: time per run of programs that only compute.

    .venv/bin/python benchmarks/embedded_engines.py [BLOCKS]

Needs root (BPF_PROG_TEST_RUN), gcc, clang, llvm-objcopy, and llvm-14-dev for LLVM's row. What is measured is what this checkout
has. A block takes every program of embedded/engine/speed once on every compiler, in an order of its own; all must return the same.
Its figure is the geometric mean over the programs of engine / kernel JIT, and the interval is that of the median over the blocks. A
bound counts as reached when the unfavourable end of the interval does.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from bpfbench.stats.compare import Comparison, compare  # noqa: E402

ENGINE = ROOT / "embedded/engine"
CONFIG = "llvm-config-14"
BLOCKS = 25
LEAST_PROGRAMS = 8
WANTED = {"jit": 1.0, "llvm": 0.6}
TITLES = {"jit": "own JIT", "llvm": "LLVM"}
Samples = Mapping[tuple[str, str], Sequence[float]]
"""(program, machine) → nanoseconds a run, block by block."""


def call(*argv: str | Path) -> str:
    """Run a command that must succeed; return what it prints."""
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, argv))} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def build(place: Path) -> Path:
    """Compile the engines and the program that takes the samples."""
    llvm = shutil.which(CONFIG) is not None
    flags = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror")
    for source in sorted(ENGINE.glob("*.c")):
        by_llvm = source.name.startswith("llvm")
        if by_llvm and not llvm:
            continue
        special = call(CONFIG, "--cppflags").split() if by_llvm else ["-mgeneral-regs-only"]
        call("gcc", *flags, *special, "-c", source, "-o", place / f"{source.stem}.o")
    files = [ENGINE / "speed/speed.c", ENGINE / "tests/machine.c", ENGINE / "tests/kernel.c", *sorted(place.glob("*.o"))]
    libraries = call(CONFIG, "--ldflags", "--libs").split() if llvm else []
    call("gcc", *flags, "-o", place / "speed", *files, *libraries, "-lm", "-lpthread")
    return place / "speed"


def programs(place: Path) -> list[Path]:
    """Compile the BPF programs, one file of instructions each."""
    source, compiled = ENGINE / "speed/programs.bpf.c", place / "programs.bpf"
    call("clang", "-target", "bpf", "-mcpu=v3", "-O2", "-c", source, "-o", compiled)
    objcopy = next(filter(shutil.which, ("llvm-objcopy", "llvm-objcopy-14")), "llvm-objcopy")
    made = []
    for name in re.findall(r"^PROGRAM\((\w+)\)", source.read_text(), re.MULTILINE):
        call(objcopy, "-O", "binary", f"--only-section=program/{name}", compiled, place / name)
        made.append(place / name)
    assert len(made) >= LEAST_PROGRAMS
    return made


def measure(speed: Path, names: Sequence[Path], blocks: int) -> Samples:
    """Take all samples."""
    found: dict[tuple[str, str], list[float]] = {}
    for line in call(speed, "samples", str(blocks), *names).splitlines():
        _, program, machine, ns = line.split()
        found.setdefault((program, machine), []).append(float(ns))
    assert {len(values) for values in found.values()} == {blocks}
    return found


def mean_over(samples: Samples, machine: str) -> list[float]:
    """Return the geometric mean over the programs, block by block."""
    rows = [values for (_, name), values in samples.items() if name == machine]
    return [float(value) for value in np.exp(np.log(np.array(rows)).mean(axis=0))]


def against_kernel(engine: Sequence[float], kernel: Sequence[float]) -> Comparison:
    return compare(engine, kernel, direction="lower", equivalence=0.02)


def written(found: Comparison) -> str:
    return f"{found.ratio:.3f} [{found.ratio_low:.3f}, {found.ratio_high:.3f}]"


def report(samples: Samples) -> bool:
    """Print a table of all programs and the figures; return whether all bounds are reached."""
    engines = [name for name in WANTED if any(machine == name for _, machine in samples)]
    print(f"{'program':10} {'kernel':>10}" + "".join(f"  {TITLES[name]:>9}  {'/ kernel JIT':22}" for name in engines))
    for program in sorted({program for program, _ in samples}):
        kernel = samples[program, "kernel"]
        cells = "".join(
            f"  {np.median(samples[program, name]):6.0f} ns  {written(against_kernel(samples[program, name], kernel)):22}"
            for name in engines
        )
        print(f"{program:10} {np.median(kernel):7.0f} ns{cells}")
    reached = True
    for name in engines:
        found = against_kernel(mean_over(samples, name), mean_over(samples, "kernel"))
        assert found.ratio_high is not None
        good = found.ratio_high <= WANTED[name]
        reached &= good
        print(f"geometric mean, {TITLES[name]} / kernel JIT: {written(found)}  (at most {WANTED[name]}: {'yes' if good else 'NO'})")
    for name in WANTED.keys() - set(engines):
        print(f"{TITLES[name]}: not measured, {CONFIG} is not installed")
    return reached


def main(words: Sequence[str]) -> int:
    """Run with the words of the command line; 0 when all bounds are reached."""
    blocks = int(words[0]) if words else BLOCKS
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, ", end="")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {blocks} blocks")
    with tempfile.TemporaryDirectory() as place:
        return 0 if report(measure(build(Path(place)), programs(Path(place)), blocks)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
