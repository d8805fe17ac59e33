"""Tests of the runtime once more, with AddressSanitizer and UBSan in all of shim.so and agent.so that is not hook/.

hook/ itself changes code and looks at stacks; what of it runs without a hit is in test_hook.py, the engine in test_engine.py,
maps under threads in test_runtime_stress.py.

test_hosts.py is not among them for Node's sake: when it is not the first one preloaded, the sanitizer's library calls a null
pointer there as it starts (InitTlsSize), also with an empty library that was built with it. Preloaded first, Node runs and
prints the same, but then malloc is the sanitizer's, not the one that is counted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .compile import ROOT
from .conftest import package
from .sanitized import build

FILES = (
    "test_runtime_same.py", "test_runtime_syscalls.py", "test_runtime_faults.py", "test_runtime_helpers.py",
    "test_runtime.py", "test_runtime_kills.py", "test_pitfalls.py", "test_injection.py", "test_tools.py",
)

# A longjmp over our frames leaves their surroundings poisoned; the sanitizers' own system calls are no hits that were missed.
NOT = "not jumps_out_of_signals and not answered"


@pytest.fixture(scope="session")
def sanitized(runtime: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree with sanitizers in it."""
    tree = build(package("embedded"), runtime, tmp_path_factory.mktemp("sanitized"))
    for name in ("shim.so", "agent.so"):
        needed = subprocess.run(["nm", "-D", tree / name], capture_output=True, text=True, check=True).stdout
        assert "U __asan_report_store8" in needed
        assert "U __ubsan_handle_pointer_overflow_abort" in needed
    return tree


def again(tree: Path, files: tuple[str, ...]) -> int:
    """Run the tests with this tree, and return how many passed; none may fail."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", NOT]
    done = subprocess.run(
        [*argv, *(str(ROOT / "tests/embedded" / name) for name in files)],
        cwd=ROOT, env={**os.environ, "EMBEDDED_TREE": str(tree)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    assert found, done.stdout
    return int(found[1])


@pytest.mark.long  # a minute and a half: both libraries are compiled once more, and all tests run again
def test_all_that_starts_loaders_and_targets(sanitized: Path) -> None:
    """Maps of every kind, events, tail calls, system calls, bad addresses, processes, signals, injection, tools."""
    assert again(sanitized, FILES) >= 100
