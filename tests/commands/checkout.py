"""A small checkout that the tests of commands work in: our own task file over two packages that only copy text."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Checkout:
    """Specs, schemas, task file and workloads of this checkout, in a directory of its own; our code is shared."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("specs", "schemas", "tasks", "workloads", "requirements"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "dodo.py", root / "dodo.py")

    def doit(self, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run doit there and return how it ended."""
        environ = {**os.environ, "BENCH_CWD": str(cwd or self.root), "PYTHONPATH": str(ROOT), **environment}
        environ.pop("NO_COLOR", None) if "NO_COLOR" not in environment else None
        command = [sys.executable, "-m", "doit", *arguments]
        return subprocess.run(command, cwd=self.root, env=environ, capture_output=True, text=True, timeout=300)
