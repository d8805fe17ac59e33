"""The engines of the embedded runtime: tables of cases, unit tests, random programs, plain and sanitized."""

import itertools
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "embedded" / "engine"
CASES = sorted((ENGINE / "tests" / "cases").glob("*.case"))
LLVM = Path("/usr/include/llvm-c-14")
WARNINGS = ("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror")
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer")
SUPPORT = ("tests/assembly.c", "tests/machine.c", "tests/kernel.c", "fuzz/generate.c")
PROGRAMS = {
    "unit": ("tests/unit.c", "tests/assembly.c"),
    "cases": ("tests/cases.c", *SUPPORT),
    "fuzz": ("fuzz/fuzz.c", "fuzz/reduce.c", *SUPPORT),
    "speed": ("speed/speed.c", "tests/machine.c", "tests/kernel.c"),
}

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="not installed: gcc")

Build = Callable[[str, str], Path]


def compile_engine(
    source: Path, into: Path, *, flags: Sequence[str] = (), llvm: bool = False
) -> list[Path]:
    """The engine's objects; with LLVM's headers its own engine too."""
    into.mkdir(parents=True, exist_ok=True)
    objects = []
    for file in sorted(source.glob("*.c")):
        uses_llvm = file.name.startswith("llvm")
        if uses_llvm and not llvm:
            continue
        special = (f"-I{LLVM}", "-I/usr/lib/llvm-14/include") if uses_llvm else ("-mgeneral-regs-only",)
        target = into / f"{file.stem}.o"
        subprocess.run(["gcc", *WARNINGS, *flags, *special, "-c", file, "-o", target], check=True)
        objects.append(target)
    return objects


def link(
    source: Path, into: Path, name: str, objects: Sequence[Path],
    *, flags: Sequence[str] = (), llvm: bool = False,
) -> Path:
    target = into / name
    libraries = ("-lpthread", "-lm", *(("-lLLVM-14",) if llvm else ()))
    files = [source / file for file in PROGRAMS[name]]
    subprocess.run(["gcc", *WARNINGS, *flags, "-o", target, *files, *objects, *libraries], check=True)
    return target


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A program in a variant: plain, sanitized or llvm. Everything is built once."""
    made: dict[str, tuple[Path, list[Path]]] = {}
    programs: dict[tuple[str, str], Path] = {}

    def give(variant: str, program: str) -> Path:
        flags, llvm = (SANITIZE if variant == "sanitized" else ()), variant == "llvm"
        if llvm and not LLVM.is_dir():
            pytest.skip("not installed: llvm-14-dev")
        if variant not in made:
            into = tmp_path_factory.mktemp(variant)
            made[variant] = (into, compile_engine(ENGINE, into, flags=flags, llvm=llvm))
        if (variant, program) not in programs:
            into, objects = made[variant]
            programs[variant, program] = link(ENGINE, into, program, objects, flags=flags, llvm=llvm)
        return programs[variant, program]

    return give


def run(*argv: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False)


def fuzz(program: Path, count: int, *options: str, seed: int = 1) -> str:
    done = run(program, "-n", count, "-s", seed, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"programs (\d+), instructions \d+, refused (\d+), mismatches 0$", done.stdout.strip())
    assert found, done.stdout
    assert int(found[1]) == count
    assert int(found[2]) < count / 20, "the generator makes programs that are refused: little was compared"
    return done.stdout


@pytest.mark.parametrize("variant", ["plain", "sanitized", "llvm"])
def test_tables_of_cases(build: Build, variant: str) -> None:
    done = run(build(variant, "cases"), *CASES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "machine jit: used" in done.stdout
    assert ("machine llvm: used" in done.stdout) == (variant == "llvm")


def test_cases_cover_every_mnemonic() -> None:
    """Nothing the assembler knows is left out of the tables."""
    text = "\n".join(path.read_text() for path in CASES)
    source = (ENGINE / "tests" / "assembly.c").read_text()
    families = re.findall(r'(?:ALU|SIGNED|ATOMIC|JUMP)\("(\w+)"', source)
    both = [f"{name}{width}" for name in families for width in (32, 64)]
    assert len(both) > 60
    assert [name for name in both if not re.search(rf"\b{name} ", text)] == []


def divisions() -> Iterator[str]:
    """Cases of unsigned division by constants: around powers of two, at the ends, with every register and a live r3."""
    odd = {3, 5, 7, 10, 11, 13, 641, 1000, 6700417, 1000003, 0x7FFFFFFF, -1, -2, -3, -10, -0x7FFFFFFF, -0x80000000}
    divisors = sorted(odd | {(1 << n) + near for n in (4, 8, 15, 16, 23, 30) for near in (-1, 1)})
    numbers = itertools.count()
    for wide, by in itertools.product((True, False), divisors):
        mask = (1 << 64) - 1 if wide else (1 << 32) - 1
        divisor = by & mask
        near = {(divisor * times + more) & mask for times in (1, 2, mask // divisor) for more in (-1, 0, 1)}
        for value in sorted({0, 1, mask, mask - 1, mask >> 1, (mask >> 1) + 1, 0x1234567890ABCDEF} | near):
            reg = next(numbers) % 10
            for name, result in (("div", (value & mask) // divisor), ("mod", (value & mask) % divisor)):
                live = "" if reg == 3 else "mov64 r3, 77; "
                program = f"lddw r{reg}, {value:#x}; {live}{name}{64 if wide else 32} r{reg}, {by}; mov64 r1, r{reg}; "
                program += f"{'' if reg == 3 else 'add64 r1, r3; '}mov64 r0, r1; exit"
                yield f"{name} {value:#x} by {by} | {program} | {(result + (0 if reg == 3 else 77)) & ((1 << 64) - 1):#x}"


def test_division_by_constants(build: Build, tmp_path: Path) -> None:
    case = tmp_path / "divisions.case"
    case.write_text("".join(f"{line}\n" for line in divisions()))
    done = run(build("plain", "cases"), case)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    found = re.search(r"cases (\d+), runs \d+, wrong 0", done.stdout)
    assert found, done.stdout[-3000:]
    assert int(found[1]) > 1500


def test_a_wrong_expectation_is_noticed(build: Build, tmp_path: Path) -> None:
    case = tmp_path / "wrong.case"
    case.write_text("sum | mov64 r0, 1; add64 r0, 1; exit | 3\n")
    done = run(build("plain", "cases"), case)
    assert done.returncode == 1
    assert "r0 is 0x2, not 0x3" in done.stdout


@pytest.mark.parametrize("variant", ["plain", "sanitized", "llvm"])
def test_units(build: Build, variant: str) -> None:
    done = run(build(variant, "unit"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("engine ") == (3 if variant == "llvm" else 2)


def test_random_programs_on_jit_and_interpreter(build: Build) -> None:
    fuzz(build("plain", "fuzz"), 20_000, "-k")


def test_random_programs_on_the_kernel_too(build: Build) -> None:
    program = build("plain", "fuzz")
    if "# kernel: used" not in run(program, "-n", 0).stdout:
        pytest.skip("this user may not load BPF programs")
    fuzz(program, 20_000, seed=1_000_000)


def test_long_random_programs(build: Build) -> None:
    fuzz(build("plain", "fuzz"), 1_000, "-k", "-z", "150", seed=5)


def test_random_programs_on_llvm(build: Build) -> None:
    assert "# llvm: used" in fuzz(build("llvm", "fuzz"), 100, seed=77)


@pytest.mark.long  # LLVM takes some milliseconds for each
def test_many_random_programs_on_llvm(build: Build) -> None:
    fuzz(build("llvm", "fuzz"), 20_000, seed=9_000_000)


def test_random_programs_sanitized(build: Build) -> None:
    fuzz(build("sanitized", "fuzz"), 500, seed=4242)


def test_planted_defects_are_found(tmp_path: Path) -> None:
    """A fuzzer that finds nothing in a broken engine proves nothing about a sound one."""
    planted = [
        ("x86.h", "X86_SHR = 5, X86_SAR = 7", "X86_SHR = 5, X86_SAR = 5", 300),
        ("jit_atomic.c", "if (!wide) /* eax", "if (0) /* eax", 3000),
        ("jit_divide.c", "!jit_dead_after(jit, at, 3)", "false", 300),
    ]
    for number, (name, old, new, count) in enumerate(planted):
        source = tmp_path / f"source{number}"
        shutil.copytree(ENGINE, source)
        text = (source / name).read_text()
        assert old in text
        (source / name).write_text(text.replace(old, new))
        into = tmp_path / f"out{number}"
        program = link(source, into, "fuzz", compile_engine(source, into))
        done = run(program, "-n", count, "-k", "-f")
        assert done.returncode == 1, f"not found: {new} in {name}"
        assert "jit" in done.stdout


def test_what_runs_at_a_hit_leaves_sse_alone(build: Build) -> None:
    """No SSE instruction in the objects, and no call of a library function that might use one."""
    into = build("plain", "unit").parent
    for name in ("interpreter", "thunks", "jit", "text"):
        assert "%xmm" not in run("objdump", "-d", into / f"{name}.o").stdout
    assert not re.search(r"\bU mem", run("nm", "-u", into / "interpreter.o").stdout)


@pytest.mark.skipif(shutil.which("clang") is None, reason="not installed: clang")
def test_compiled_programs_return_the_same_everywhere(build: Build, tmp_path: Path) -> None:
    speed, compiled = build("llvm" if LLVM.is_dir() else "plain", "speed"), tmp_path / "programs.o"
    source = ENGINE / "speed" / "programs.bpf.c"
    subprocess.run(["clang", "-target", "bpf", "-mcpu=v3", "-O2", "-c", source, "-o", compiled], check=True)
    names = re.findall(r"^PROGRAM\((\w+)\)", source.read_text(), re.MULTILINE)
    for name in names:
        section = f"--only-section=program/{name}"
        subprocess.run(["llvm-objcopy-14", "-O", "binary", section, compiled, tmp_path / name], check=True)
    done = run(speed, 1, *(tmp_path / name for name in names))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(names) >= 8
