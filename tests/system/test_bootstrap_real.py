"""``./bench`` in a fresh copy of this checkout, with the real pins from this machine's package index."""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 600.0
NOT_COPIED = (".git", ".venv", ".bench", "results", "vendor/store")

pytestmark = pytest.mark.system


def bench(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "bench", *arguments],
        cwd=checkout.parent, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False,
        timeout=DEADLINE,
    )  # fmt: skip


def not_copied(directory: str, names: list[str]) -> set[str]:
    within = Path(directory).relative_to(ROOT)
    caches = shutil.ignore_patterns(".doit.db*", "__pycache__", ".*_cache", ".hypothesis")(directory, names)
    return caches | {name for name in names if str(within / name) in NOT_COPIED}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with its environment made, as ``./bench --version`` makes it."""
    to = tmp_path_factory.mktemp("bootstrap") / "fresh copy"
    shutil.copytree(ROOT, to, ignore=not_copied, symlinks=True)
    done = bench(to, "--version")
    if done.returncode != 0 and "is the network up" in done.stderr:
        pytest.skip(f"this machine's package index is out of reach: {done.stderr.strip().splitlines()[-2]}")
    assert done.returncode == 0, done.stderr
    return to


def test_every_pin_is_installed_and_they_agree_with_each_other(checkout: Path) -> None:
    python = checkout / ".venv/bin/python"
    check = subprocess.run([python, "-I", "-m", "pip", "check"], text=True, capture_output=True, check=False)
    assert check.returncode == 0, check.stdout
    freeze = subprocess.run(
        [python, "-I", "-m", "pip", "freeze", "--all"], text=True, capture_output=True, check=True
    )
    installed = {line.split("==")[0].lower(): line for line in freeze.stdout.splitlines() if "==" in line}
    pins = re.findall(
        r"^([\w.-]+)==(\S+) (;.*)?", (checkout / "requirements/run.txt").read_text(), re.MULTILINE
    )
    assert len(pins) > 10
    for name, version, marker in pins:
        if not marker:
            assert installed.get(name.lower(), "").partition("==")[2] == version, name


def test_every_entry_point_can_be_loaded_and_is_there_once(checkout: Path) -> None:
    (packages,) = checkout.glob(".venv/lib/python3.*/site-packages")
    (ours,) = importlib.metadata.distributions(name="bpfbench", path=[str(packages)])
    points = [p for p in ours.entry_points if p.group.startswith("doit.")]
    assert {"test", "run"} <= {p.name for p in points}
    imports = [f"from {p.module} import {p.attr}" for p in points]
    done = subprocess.run(
        [checkout / ".venv/bin/python", "-I", "-c", "\n".join(imports)],
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_doit_lists_the_tasks_of_this_checkout_and_makes_nothing_again(checkout: Path) -> None:
    stamp = checkout / ".venv/made-for"
    before = stamp.stat().st_mtime_ns, (checkout / ".venv").stat().st_ino
    done = bench(checkout, "list")
    assert done.returncode == 0, done.stderr
    assert "run_uprobe" in done.stdout
    assert done.stderr == ""
    assert (stamp.stat().st_mtime_ns, (checkout / ".venv").stat().st_ino) == before


def test_bench_test_installs_what_it_needs_and_runs_pytest_there(checkout: Path) -> None:
    done = bench(checkout, "test", "-q", "-k", "family", "fresh copy/tests/test_system.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)
    python = checkout / ".venv/bin/python"
    check = subprocess.run([python, "-I", "-m", "pip", "check"], text=True, capture_output=True, check=False)
    assert check.returncode == 0, check.stdout
