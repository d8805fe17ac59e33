"""The first start of a checkout on a full disk spoils no later one: nothing that Python compiled is kept by half."""

from __future__ import annotations

import marshal
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from .troubles import fill, small_disk

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "bench", "dodo.py", "pyproject.toml", "bpfbench", "tasks", "specs", "schemas", "requirements", "workloads", "embedded",
    "vendor/sources.lock.json",
)  # fmt: skip

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk"),
    pytest.mark.skipif(not (Path(sys.prefix) / "bin" / "doit").exists(), reason="needs doit as ./bench starts it: run by ./bench test"),
]


def checkout(root: Path) -> Path:
    """Make a checkout whose .venv borrows what is installed in ours, and counts as made for it."""
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, root / name)
    packages = root / ".venv" / "lib" / f"python3.{sys.version_info[1]}" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "borrowed.pth").write_text(f"{root}\n{sysconfig.get_path('purelib')}\n")
    (root / ".venv" / "bin").mkdir()
    python = Path(sys.executable).resolve()
    (root / ".venv" / "bin" / "python").symlink_to(python)
    (root / ".venv" / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    shutil.copy(Path(sys.prefix) / "bin" / "doit", root / ".venv" / "bin" / "doit")
    command = ["cksum", "requirements/run.txt", "requirements/run.in", "pyproject.toml"]
    sums = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    (root / ".venv" / "made-for").write_text(f"format 1\nroot {root}\n{sums}python {python}\n")
    return root


def bench(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(root.parent), "LANG": "C.UTF-8"}
    return subprocess.run([root / "bench", *arguments], check=False, cwd=root, env=environment, capture_output=True, text=True, timeout=120)


def halves(root: Path) -> list[str]:
    """Return what Python compiled and could not load again."""
    found = []
    for path in [*root.glob("bpfbench/**/*.pyc"), *root.glob("tasks/**/*.pyc"), *root.glob("__pycache__/*.pyc")]:
        try:
            marshal.loads(path.read_bytes()[16:])
        except (EOFError, ValueError, TypeError):
            found.append(path.name)
    return found


@pytest.mark.parametrize("spare", [0, 5_000])
def test_a_full_disk_at_the_first_start_spoils_no_later_one(tmp_path: Path, spare: int) -> None:
    with small_disk(tmp_path / "disk", "32m") as disk:
        root = checkout(disk / "checkout")
        filler = fill(disk, spare)
        for _ in range(2):
            listed = bench(root, "list")
            assert listed.returncode == 0, listed.stderr
            assert "run_uprobe" in listed.stdout
            assert halves(root) == []
        refused = bench(root, "build_uprobe")
        assert refused.returncode != 0
        assert "No space left on device" in refused.stdout + refused.stderr
        assert "Traceback" not in refused.stdout + refused.stderr
        assert halves(root) == []
        filler.unlink()
        assert bench(root, "run", "system:uprobe").returncode == 0
        assert halves(root) == []
        assert list(root.glob("bpfbench/commands/__pycache__/run.*.pyc"))
        assert bench(root, "list").stdout == listed.stdout
