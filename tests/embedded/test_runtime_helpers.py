"""Helpers and USDT probes: the same on the kernel and here; and none in the table that no test calls."""

from __future__ import annotations

import os
import re
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .compile import LIBBPF, bpf_object, program
from .conftest import ROOT, Segment
from .talk import Program, eventually

KERNEL = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
CALL, LOAD_64 = 0x85, 0x18
NOT_CALLED = {
    "ktime_get_coarse_ns": "the kernel has it for no type of program that user space can attach; libbpf's probe loads one with it",
}

needs_kernel = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel's side of the comparison")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the test programs are."""
    tree = tmp_path_factory.mktemp("helpers")
    program("helpers", tree, *LIBBPF)
    program("usdt", tree, *LIBBPF)
    program("target", tree, "-fno-omit-frame-pointer", "-lpthread")
    for name in ("helpers", "usdt", "events", "syscalls"):
        bpf_object(name, tree)
    return tree


def helpers_called(path: Path) -> Iterator[int]:
    """Yield the numbers of the helpers that the programs of an object call."""
    content = path.read_bytes()
    (at,), (size, n) = struct.unpack_from("<Q", content, 0x28), struct.unpack_from("<HH", content, 0x3A)
    for i in range(n):
        _, kind, flags, _, offset, length = struct.unpack_from("<IIQQQQ", content, at + i * size)
        if kind != 1 or not flags & 4:  # instructions
            continue
        place = offset
        while place < offset + length:
            code, registers, _, value = struct.unpack_from("<BBhi", content, place)
            if code == CALL and registers >> 4 == 0:
                yield value
            place += 16 if code == LOAD_64 else 8


def helper_numbers() -> dict[str, int]:
    """Return the number of every helper, as the system's header says it."""
    source = '#include <linux/bpf.h>\n#define N(x, ...) "bpf" #x BPF_FUNC_##x\n__BPF_FUNC_MAPPER(N)\n'
    text = subprocess.run(["gcc", "-E", "-P", "-x", "c", "-"], input=source, capture_output=True, text=True, check=True).stdout
    names = re.findall(r"BPF_FUNC_(\w+)", text[text.rindex('"bpf" "unspec"') :])
    return {name: number for number, name in enumerate(names)}


def test_every_helper_is_called_by_a_program_of_the_tests(built: Path, uprobe: Path) -> None:
    source = (ROOT / "embedded/runtime/helpers.c").read_text()
    table = set(re.findall(r"\[BPF_FUNC_(\w+)\] = \{ \w+, ", source))
    numbers = helper_numbers()
    assert len(table) > 45
    objects = [*built.glob("*.bpf.o"), uprobe / "program.bpf.o"]
    called = {number for path in objects for number in helpers_called(path)}
    assert {name for name in table if numbers[name] not in called} == set(NOT_CALLED)


def results(built: Path, loader_env: dict[str, str], target_env: dict[str, str]) -> tuple[list[str], str]:
    loader = Program([built / "helpers", built / "helpers.bpf.o", built / "target"], loader_env)
    assert loader.line() == "READY", loader.errors()
    target = subprocess.run([built / "target", "20"], env=target_env, capture_output=True, text=True, check=True)
    assert target.stdout == "signals 20 20\n"
    loader.end_input()
    lines = []
    while line := loader.line():
        lines.append(line)
    assert loader.errors() == ""
    return lines, target.stderr


@needs_kernel
@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_helpers_give_what_the_kernels_give(built: Path, segment: Segment, engine: str) -> None:
    kernel, _ = results(built, KERNEL, KERNEL)
    own, printed = results(built, segment.loader(), segment.target(EMBEDDED_ENGINE=engine))
    assert own == kernel
    assert len([line for line in own if not line.endswith(" 0")]) > 20
    assert "printed 19 of many\n" in printed
    assert "1 2 3 19 words\n" in printed


def compiled(tree: Path, program: str) -> Path:
    """Compile a program, whatever verifiers say of it."""
    source, made = tree / "refused.bpf.c", tree / "refused.bpf.o"
    source.write_text(
        f'#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\nchar LICENSE[] SEC("license") = "GPL";\n{program}'
    )
    multiarch = subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()
    argv: list[str | Path] = ["clang", "-target", "bpf", "-O2", "-g", f"-I/usr/include/{multiarch}", "-c", source, "-o", made]
    subprocess.run(argv, check=True)
    return made


def test_an_unknown_helper_is_refused_at_load_by_its_name(built: Path, segment: Segment, tmp_path: Path) -> None:
    made = compiled(tmp_path, 'SEC("uprobe") int on_tick(void *context) { return bpf_get_current_task_btf() == 0; }\n')
    loader = Program([built / "usdt", made, built / "target"], segment.loader())
    assert loader.line().startswith("FAILED")
    assert "bpf_get_current_task_btf" in loader.errors()


# --- USDT ---------------------------------------------------------------------------------------------------------


def usdt(built: Path, loader_env: dict[str, str], target_env: dict[str, str]) -> list[str]:
    early = Program([built / "usdt"], target_env)
    said = [early.line(), early.ask("fire 5")]
    loader = Program([built / "usdt", built / "usdt.bpf.o", built / "usdt"], loader_env)
    assert loader.line() == "READY", loader.errors()
    late = Program([built / "usdt"], target_env)
    said += [early.ask("fire 10"), late.line(), late.ask("fire 100")]
    loader.end_input()
    said.append(loader.line())
    assert loader.errors() == ""
    said += [early.ask("fire 5"), late.ask("fire 5")]
    for target in (early, late):
        target.end_input()
        assert target.process.wait() == 0
    return said


@needs_kernel
def test_usdt_probes_with_semaphores_count_up_fire_and_count_down(built: Path, segment: Segment) -> None:
    kernel = usdt(built, KERNEL, KERNEL)
    own = usdt(built, segment.loader(), segment.target())
    assert own == kernel
    first = 45 + 4950
    assert own == [
        "READY", "fired 0 semaphore 0", "fired 10 semaphore 1", "READY", "fired 100 semaphore 1",
        f"hits 110 first {first} second {-first} third 110000 cookie 77 arguments 3",
        "fired 0 semaphore 0", "fired 0 semaphore 0",
    ]  # fmt: skip


def test_a_killed_loaders_semaphores_go_down(built: Path, segment: Segment) -> None:
    target = Program([built / "usdt"], segment.target())
    target.line()
    for loaders in (1, 2):
        started = [Program([built / "usdt", built / "usdt.bpf.o", built / "usdt"], segment.loader()) for _ in range(loaders)]
        assert [loader.line() for loader in started] == ["READY"] * loaders
        assert target.ask("fire 3") == f"fired 3 semaphore {loaders}"
        for loader in started:
            loader.kill()
        eventually(lambda: target.ask("fire 1") == "fired 0 semaphore 0", "nobody listens any more")
    target.end_input()
    assert target.process.wait() == 0


# --- verification -------------------------------------------------------------------------------------------------


@needs_kernel
def test_what_the_kernels_verifier_refuses_is_refused_in_its_words(built: Path, segment: Segment, tmp_path: Path) -> None:
    made = compiled(tmp_path, 'SEC("uprobe") int on_tick(long *context) { return *(long *)context[0]; }\n')
    said = []
    for env in (KERNEL, segment.loader()):
        loader = Program([built / "usdt", made, built / "usdt"], env)
        assert loader.line().startswith("FAILED")
        said.append(loader.errors())
    assert "R1 invalid mem access 'scalar'" in said[1]
    refusals = [[line for line in text.splitlines() if not line.startswith("verification time")] for text in said]
    assert refusals[1] == refusals[0]
