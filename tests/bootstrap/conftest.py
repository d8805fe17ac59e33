"""A copy of the part of this checkout that ``./bench`` needs before there is an environment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = (
    "bench",
    "pyproject.toml",
    "bpfbench/__init__.py",
    "bpfbench/errors.py",
    "bpfbench/bootstrap.py",
    "bpfbench/bytecode.py",
    "bpfbench/system.py",
    "bpfbench/model/__init__.py",
    "bpfbench/model/types.py",
    "bpfbench/commands/__init__.py",
    "bpfbench/commands/test.py",
)


@pytest.fixture
def copy_checkout() -> Callable[[Path], Path]:
    """Copy to a directory, with empty pins; returns the directory."""

    def copy(to: Path) -> Path:
        for name in FILES:
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
        (to / "requirements").mkdir()
        for name in ("run.in", "run.txt", "test.txt"):
            (to / "requirements" / name).write_text("")
        return to

    return copy
