"""Hooks of functions and system calls: C programs under embedded/hook/tests, one case a test."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from .hooklib import CASES, Built, build_library

pytestmark = pytest.mark.skipif(os.uname().machine != "x86_64", reason="hooks are made for x86-64 only")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the hook library and its test programs."""
    return build_library(tmp_path_factory.mktemp("hook"))


def run(argv: list[str], environment: Mapping[str, str] | None = None, wall: float = 300) -> str:
    """Return what the program says; it must end well and in time."""
    done = subprocess.run(
        argv, env={**os.environ, **(environment or {})}, capture_output=True, text=True, errors="replace", timeout=wall,
        check=False,
    )
    assert done.returncode == 0, f"{argv}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.mark.parametrize(("program", "case"), [(program, case) for program in CASES for case in CASES[program]])
def test_case(built: Built, program: str, case: str) -> None:
    out = run([built.program(program), case], {"LATER": str(built.later)})
    assert out.splitlines()[-1] == "OK"


@pytest.mark.parametrize("program", CASES)
def test_no_case_is_forgotten(built: Built, program: str) -> None:
    assert run([built.program(program)]).split() == list(CASES[program])


def test_most_system_calls_of_libc_are_covered(built: Built) -> None:
    out = run([built.program("system_calls"), "coverage"])
    covered = {
        name: tuple(map(int, numbers))
        for name, *numbers in re.findall(r"^(\S*) found (\d+) rewritten (\d+) never (\d+) no_room (\d+)$", out, re.M)
    }
    found, rewritten, never, no_room = next(value for name, value in covered.items() if "libc.so" in name)
    assert found > 300
    assert found == rewritten + never + no_room
    assert 1 <= never < 10
    assert rewritten + never >= 0.98 * found


LIBRARIES = ("libc.so.6", "libssl.so.3", "libcrypto.so.3", "libstdc++.so.6", "libpython3.11.so.1.0")


@pytest.mark.parametrize("library", LIBRARIES)
def test_exported_functions_are_hookable(built: Built, library: str) -> None:
    done = subprocess.run(
        [built.program("sweep"), library], capture_output=True, text=True, errors="replace", timeout=300, check=False
    )
    if done.returncode == 77:
        pytest.skip(f"{library} is not installed")
    assert done.returncode == 0, done.stderr[-2000:]
    found = re.search(r"total (\d+) hooked (\d+) with_return (\d+)", done.stdout)
    assert found
    total, hooked, with_return = map(int, found.groups())
    assert total > 400
    assert hooked >= 0.98 * total
    assert with_return >= 0.98 * total
    refusals = re.findall(r"^refused \S+: (.*)$", done.stdout, re.M)
    assert len(refusals) == total - hooked
    assert all(refusals)


def test_code_without_hits_passes_sanitizers(built: Built, tmp_path: Path) -> None:
    """Decoding, choosing, patching and unhooking, with AddressSanitizer and UBSan."""
    program = built.sanitized(tmp_path)
    for case in ("arguments", "several", "probe", "probes_without_room", "refused"):
        assert run([program, case], {"ASAN_OPTIONS": "detect_leaks=0"}).splitlines()[-1] == "OK"
