"""The command ``test``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from bpfbench.commands import test as test_command

DEADLINE = 120.0


@pytest.mark.parametrize(
    ("parsed", "given", "expected"),
    [
        (["-k", "a b", "-x"], ["doit", "test", "-k", "a b", "-x"], ["-k", "a b", "-x"]),
        (["-o"], ["doit", "test", "-o", "log_cli=true"], ["-o", "log_cli=true"]),
        (["-k", "test"], ["/bin/test", "p=quick", "test", "-k", "test", "a=b"], ["-k", "test", "a=b"]),
        ([], ["doit", "test"], []),
        (["-x"], ["something", "else"], ["-x"]),
    ],
)
def test_pytest_gets_the_words_that_doit_takes_out(
    parsed: list[str], given: list[str], expected: list[str]
) -> None:
    assert test_command.untouched(parsed, given) == expected


def test_paths_are_meant_from_where_one_stands(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").touch()
    (tmp_path / "tests" / "word").touch()
    arguments = ["-x", "test_a.py::test_b", "-k", "word", "nothing.py", "--lf"]
    assert test_command.from_checkout(arguments, tmp_path, tmp_path) == arguments
    assert test_command.from_checkout(arguments, tmp_path / "tests", tmp_path) == [
        "-x", f"{tmp_path}/tests/test_a.py::test_b", "-k", "word", "nothing.py", "--lf",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-k", "good", "-q"], 0, "1 passed"),
        (["-x", "-q"], 1, "1 failed"),
        (["tests/test_some.py::test_good", "-q"], 0, "1 passed"),
        (["-k", "none_of_them"], 5, "deselected"),
        (["--no-such-option"], 4, "no-such-option"),
    ],
)
def test_doit_test_is_pytest_with_its_options_and_exit_status(
    tmp_path: Path, copy_checkout: Callable[[Path], Path], arguments: list[str], status: int, said: str
) -> None:
    checkout = copy_checkout(tmp_path / "a checkout")
    (checkout / "tests").mkdir()
    (checkout / "tests" / "test_some.py").write_text(
        "def test_bad():\n    assert 0\ndef test_good():\n    assert 1\n"
    )
    start = (
        "import sys; from doit.doit_cmd import DoitMain\n"
        "config = {'COMMAND': {'test': 'bpfbench.commands.test:Test'}}\n"
        "sys.exit(DoitMain(extra_config=config).run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", start, "test", *arguments],
        cwd=checkout, env={"PATH": os.environ["PATH"], "PYTHONPATH": str(checkout)},
        text=True, capture_output=True, check=False, timeout=DEADLINE,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    assert said in done.stdout + done.stderr
