"""Another compiler in the place of the one that built something is named by explain and plan, and nothing else is."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .bad_luck import Checkout

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to put another compiler in its place, seen by nobody else"),
]


def with_another(compiler: str, folder: Path) -> tuple[str, ...]:
    """Return a command before doit, for which the compiler has a byte more."""
    real = Path(str(shutil.which(compiler))).resolve()
    other = folder / "other"
    other.write_bytes(real.read_bytes() + b"\0")
    other.chmod(0o755)
    return ("unshare", "--mount", "sh", "-c", f'mount --bind "{other}" "{real}" && exec "$@"', "sh")


@pytest.mark.parametrize(("compiler", "spared"), [("clang", "gcc"), ("gcc", "clang")])
def test_a_changed_compiler_is_named_from_what_to_what(
    built: Checkout, another: Callable[[Checkout], Checkout], tmp_path: Path, compiler: str, spared: str
) -> None:
    checkout, wrap = another(built), with_another(compiler, tmp_path)
    explained = checkout.doit("explain", "build_uprobe", wrap=wrap).out
    assert explained.startswith("build_uprobe: would run: changed: ")
    before, after = re.findall(rf"^  \S*\b{compiler}\.digest: (\S+) → (\S+)$", explained, re.MULTILINE)[0]
    assert before != after
    assert spared not in explained
    assert f"{compiler}.digest" in checkout.doit("plan", "build_uprobe", wrap=wrap).out
    assert f"{compiler}.digest" in checkout.doit("explain", "run_tiny", wrap=wrap).out
    assert checkout.doit("explain", "build_uprobe").out.startswith("build_uprobe: up to date")
