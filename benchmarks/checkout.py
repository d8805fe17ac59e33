"""A copy of this checkout to measure in, without anything built or measured before."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def copy_to(place: Path) -> Path:
    """Copy what git knows of this checkout, and what it does not ignore, to ``place``; return it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, place / name)
    return place


def doit(checkout: Path, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run doit with this environment's Python on the copy's own code."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from doit.doit_cmd import DoitMain; sys.exit(DoitMain().run(sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(checkout), *arguments]
    return subprocess.run(command, cwd=checkout, check=check, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
