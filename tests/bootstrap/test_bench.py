"""``bench`` and the decisions it makes, with Pythons that only pretend."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 60.0

PRETENDER = """#!/bin/sh
# answers `-I -S -c …`, plays bootstrap.py, and plays doit
case "$*" in
    "-I -S -c "*) test -n "$ANSWER" && echo "$ANSWER $(readlink -f "$0")" ;;
    "-I -B bpfbench/bootstrap.py run "*)
        echo "$NAME" >> "$CALLS"
        test -z "$BOOTSTRAP_FAILS" || exit 7
        mkdir -p .venv/bin
        ln -sf "$0" .venv/bin/python
        printf '%s\\npython %s\\n' "$5" "$(readlink -f "$0")" > .venv/made-for ;;
    *) printf '%s\\n' "$@" "cwd=$PWD" "stood=$BENCH_CWD" "path=${PYTHONPATH-unset}" \\
        "home=${PYTHONHOME-unset}" "nobytes=${PYTHONDONTWRITEBYTECODE-unset}" ;;
esac
"""


class Pretend:
    """A checkout, and a PATH with only pretended Pythons on it and the tools that ``bench`` may use."""

    def __init__(self, root: Path, checkout: Path) -> None:
        self.checkout = checkout
        self.bin = root / "bin"
        self.bin.mkdir()
        self.calls = root / "calls"
        for tool in ("cat", "cksum", "id", "ln", "mkdir", "readlink"):
            (self.bin / tool).symlink_to(shutil.which(tool) or tool)
        self.env = {"PATH": str(self.bin), "CALLS": str(self.calls)}

    def python(self, name: str, answer: str) -> Path:
        path = self.bin / name
        lines = PRETENDER.split("\n", 1)
        path.write_text(f"{lines[0]}\nANSWER='{answer}' NAME='{name}'\n{lines[1]}")
        path.chmod(0o755)
        return path

    def run(
        self, *arguments: str, via: Sequence[str] | None = None, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        command = [*(via or [str(self.checkout / "bench")]), *arguments]
        return subprocess.run(
            command,
            cwd=cwd or self.checkout,
            env={**self.env, **env},
            text=True,
            check=False,
            capture_output=True,
            timeout=DEADLINE,
        )

    def made_by(self) -> list[str]:
        return self.calls.read_text().split() if self.calls.exists() else []


@pytest.fixture
def pretend(tmp_path: Path, copy_checkout: Callable[[Path], Path]) -> Pretend:
    return Pretend(tmp_path, copy_checkout(tmp_path / "a checkout"))


def test_makes_the_environment_once_then_runs_doit(pretend: Pretend) -> None:
    pretend.python("python3", "3.11 venv")
    for _ in range(3):
        done = pretend.run("list", "two words", "")
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[:4] == [f"{pretend.checkout}/.venv/bin/doit", "list", "two words", ""]
        assert f"cwd={pretend.checkout}" in done.stdout
    assert pretend.made_by() == ["python3"]


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_any_posix_shell_will_do(pretend: Pretend, shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    pretend.python("python3", "3.12 venv")
    done = pretend.run("list", via=[path, *(["sh"] if shell == "busybox" else []), "bench"])
    assert done.returncode == 0, done.stderr
    assert "list" in done.stdout.splitlines()


def test_from_anywhere_through_a_link(pretend: Pretend, tmp_path: Path) -> None:
    pretend.python("python3", "3.13 venv")
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to(pretend.checkout / "bench")
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    done = pretend.run(via=["../one"], cwd=elsewhere, CDPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert f"cwd={pretend.checkout}" in done.stdout.splitlines()
    assert f"stood={elsewhere}" in done.stdout.splitlines()


def test_other_peoples_modules_stay_out(pretend: Pretend) -> None:
    pretend.python("python3", "3.11 venv")
    done = pretend.run(PYTHONPATH="/somewhere", PYTHONHOME="/else")
    assert {"path=unset", "home=unset", "nobytes=1"} <= set(done.stdout.splitlines())


def append(path: Path) -> None:
    path.write_text(path.read_text() + "# changed\n")


def move(pretend: Pretend) -> None:
    pretend.checkout = pretend.checkout.rename(pretend.checkout.with_name("moved"))


CHANGES: Mapping[str, Callable[[Pretend], object]] = {
    "pins": lambda p: append(p.checkout / "requirements/run.txt"),
    "entry points": lambda p: append(p.checkout / "pyproject.toml"),
    "no stamp": lambda p: (p.checkout / ".venv/made-for").unlink(),
    "cut-off stamp": lambda p: (p.checkout / ".venv/made-for").write_text("format 1\n"),
    "no environment": lambda p: shutil.rmtree(p.checkout / ".venv"),
    "python gone": lambda p: (p.checkout / ".venv/bin/python").unlink(),
    "another python behind": lambda p: (
        (p.bin / "python3").rename(p.bin / "python3.12") and (p.bin / "python3").symlink_to("python3.12")
    ),
    "moved": move,
}


@pytest.mark.parametrize("change", CHANGES)
def test_makes_it_again_when_what_it_was_made_for_changes(pretend: Pretend, change: str) -> None:
    pretend.python("python3", "3.12 venv")
    pretend.run()
    CHANGES[change](pretend)
    done = pretend.run()
    assert done.returncode == 0, done.stderr
    assert len(pretend.made_by()) == 2
    pretend.run()
    assert len(pretend.made_by()) == 2


@pytest.mark.parametrize(
    ("pythons", "chosen"),
    [
        ({"python3": "3.9 venv", "python3.12": "3.12 venv", "python3.11": "3.11 venv"}, "python3.12"),
        ({"python3": "3.14 venv", "python3.11": "3.11 venv"}, "python3.11"),
        ({"python3": "3.11 bare", "python3.13": "3.13 venv"}, "python3.13"),
        ({"python3": "3.11 bare", "python3.13": "3.13 bare"}, "python3"),
        ({"python3": "", "python3.13": "3.13 venv"}, "python3.13"),
    ],
)
def test_chooses_a_python_that_suits(pretend: Pretend, pythons: Mapping[str, str], chosen: str) -> None:
    for name, answer in pythons.items():
        pretend.python(name, answer)
    done = pretend.run()
    assert done.returncode == 0, done.stderr
    assert pretend.made_by() == [chosen]


@pytest.mark.parametrize("pythons", [{}, {"python3": "3.10 venv", "python3.13": "3.14 venv"}])
def test_no_python_that_suits_is_told_with_what_there_is(
    pretend: Pretend, pythons: Mapping[str, str]
) -> None:
    for name, answer in pythons.items():
        pretend.python(name, answer)
    done = pretend.run("list")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "needs Python 3.11, 3.12 or 3.13" in done.stderr
    assert ("python3 is 3.10" if pythons else "no python3") in done.stderr
    assert "BENCH_PYTHON=" in done.stderr
    assert not (pretend.checkout / ".venv").exists()


def test_the_python_that_was_asked_for_is_used_or_refused(pretend: Pretend) -> None:
    pretend.python("python3", "3.11 venv")
    pretend.python("mine", "3.12 venv")
    pretend.python("old", "3.8 venv")
    pretend.run()
    assert pretend.run(BENCH_PYTHON=str(pretend.bin / "mine")).returncode == 0
    assert pretend.run(BENCH_PYTHON="mine").returncode == 0
    assert pretend.run(BENCH_PYTHON="../bin/mine").returncode == 0
    assert pretend.run().returncode == 0
    assert pretend.made_by() == ["python3", "mine"]
    for refused, why in (("old", "old is 3.8"), ("/nowhere/python", "/nowhere/python does not run")):
        done = pretend.run(BENCH_PYTHON=refused)
        assert done.returncode == 1
        assert why in done.stderr
    assert pretend.made_by() == ["python3", "mine"]


def test_when_the_environment_cannot_be_made_doit_is_not_run(pretend: Pretend) -> None:
    pretend.python("python3", "3.11 venv")
    done = pretend.run(BOOTSTRAP_FAILS="1")
    assert done.returncode == 7
    assert done.stdout == ""


def test_an_incomplete_checkout_is_named(pretend: Pretend) -> None:
    pretend.python("python3", "3.11 venv")
    (pretend.checkout / "requirements/run.txt").unlink()
    done = pretend.run()
    assert done.returncode == 1
    assert "incomplete" in done.stderr
    assert pretend.made_by() == []


@pytest.mark.parametrize("script", ["bench", ".ci/run"])
def test_shell_scripts_are_executable_and_clean(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, ROOT / script], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
