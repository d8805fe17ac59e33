"""A compiler is known by its content, and looked at again as soon as it changes."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfbench.build import toolchain as module
from bpfbench.build.toolchain import Toolchain
from bpfbench.errors import BenchError

pytestmark = pytest.mark.system

WithPath = Callable[..., Path]


def test_gcc_is_known_with_what_it_starts(cache: Path) -> None:
    tool = Toolchain(cache).tool("gcc")
    names = {Path(path).name for path in tool.files}
    assert "gcc" in tool.version
    assert "cc1" in names
    assert any(name.startswith("libc.so") for name in names), "libraries are part of a tool"
    assert any(Path(place, "stdio.h").exists() for place in tool.search)


def test_clang_is_known_with_its_libraries(cache: Path) -> None:
    tool = Toolchain(cache).tool("clang")
    assert "clang" in tool.version
    assert str(Path(str(shutil.which("clang"))).resolve()) in tool.files


def test_a_missing_compiler_is_named_as_a_requirement(cache: Path, path_with: WithPath) -> None:
    path_with("ls")
    with pytest.raises(BenchError, match="requirement `clang`") as error:
        Toolchain(cache).tool("clang")
    assert error.value.hint == "./bench system"


def test_a_known_compiler_is_not_asked_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Toolchain(cache)
    expected = first.tool("gcc")
    first.save()
    monkeypatch.setattr(module, "invoke", lambda *_: pytest.fail("the compiler was started"))
    assert Toolchain(cache).tool("gcc") == expected


def fake_compiler(directory: Path, version: str) -> None:
    program = directory / "clang"
    program.unlink(missing_ok=True)
    program.write_text(f"#!/bin/sh\necho fake {version}\n")
    program.chmod(0o755)


def test_another_program_of_that_name_is_another_tool(tmp_path: Path, path_with: WithPath) -> None:
    directory = path_with("sh", "ldd", "cat")
    fake_compiler(directory, "1")
    first = Toolchain(tmp_path / "cache")
    before = first.tool("clang")
    first.save()
    fake_compiler(directory, "2")
    after = Toolchain(tmp_path / "cache").tool("clang")
    assert (before.version, after.version) == ("fake 1", "fake 2")
    assert before.identity() != after.identity()


def test_the_same_bytes_elsewhere_are_the_same_tool(tmp_path: Path, path_with: WithPath) -> None:
    directory = path_with("sh", "ldd", "cat")
    fake_compiler(directory, "1")
    before = Toolchain(tmp_path / "one").tool("clang")
    moved = tmp_path / "elsewhere"
    directory.rename(moved)
    directory.symlink_to(moved)
    after = Toolchain(tmp_path / "two").tool("clang")
    assert set(before.files) != set(after.files)
    assert before.identity() == after.identity()


def test_flags_are_what_a_program_prints_and_asked_once_while_it_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "some-config"
    program.parent.mkdir()
    monkeypatch.setattr(module, "environment", lambda: {"PATH": f"{program.parent}:/usr/bin:/bin"})

    def write(flag: str) -> None:
        program.write_text(f'#!/bin/sh\n[ "$1" = --libs ] || exit 1\necho asked >> {tmp_path}/asked\necho {flag} -lm\n')
        program.chmod(0o755)

    def flags() -> tuple[str, ...]:
        tools = Toolchain(tmp_path / "cache")
        found = tools.flags("some-config", "--libs")
        tools.save()
        return found

    write("-lone")
    assert flags() == flags() == ("-lone", "-lm")
    assert (tmp_path / "asked").read_text() == "asked\n"
    write("-lother")
    assert flags() == ("-lother", "-lm")
    with pytest.raises(BenchError, match="some-config --cflags failed"):
        Toolchain(tmp_path / "cache").flags("some-config", "--cflags")
