"""``doit test``: run the tests of this checkout."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from doit.cmd_base import Command

from bpfbench import bootstrap
from bpfbench.errors import BenchError

_NOT_FOR_TESTS = ("PYTHONPATH", "PYTHONHOME", "BENCH_CWD", "PYTHONDONTWRITEBYTECODE")
ROOT = Path(__file__).resolve().parents[2]
_TAKES_WORDS = ("-k", "-m", "-p", "-o", "-W")
"""Options of pytest's whose value is no path, even if a file of that name exists."""


class Test(Command):  # type: ignore[misc]
    """Hands its arguments to pytest as they are, and pytest's exit status back."""

    name = "test"
    doc_purpose = "run the tests of this checkout"
    doc_usage = "[PYTEST ARGUMENTS]"
    doc_description = (
        "What the tests need is installed into .venv first, if it is not there yet. All arguments go to "
        "pytest: -k EXPRESSION, -x, paths. Without any, all tests are run."
    )

    def parse_execute(self, in_args: Sequence[str]) -> int:
        """Run pytest with ``in_args``, which doit is kept from reading as its own options."""
        return self.execute({}, untouched(in_args, sys.argv))

    def execute(self, _opt_values: Mapping[str, Any], pos_args: Sequence[str]) -> int:  # noqa: RET503
        """Become pytest; return only if that cannot be."""
        try:
            _prepare()
        except BenchError as error:
            print(f"bench: {error}", file=sys.stderr)
            return 3
        command = [sys.executable, "-m", "pytest", *_caches(), *from_checkout(pos_args, _standing(), ROOT)]
        os.chdir(ROOT)
        sys.stdout.flush()
        # In the place of this process: signals reach pytest, and its exit status is this one's.
        os.execve(sys.executable, command, _environment())


def untouched(parsed: Sequence[str], given: Sequence[str]) -> list[str]:
    """Return the arguments of ``test`` from ``given``: doit takes all ``name=value`` words out."""
    for at, word in enumerate(given):
        rest = list(given[at + 1 :])
        if word == "test" and [w for w in rest if w.startswith("-") or "=" not in w] == list(parsed):
            return rest
    return list(parsed)


def from_checkout(arguments: Sequence[str], standing: Path, root: Path) -> list[str]:
    """Make paths among ``arguments``, relative to ``standing``, absolute, since pytest is run in ``root``."""
    if standing == root:
        return list(arguments)
    result = []
    before = ""
    for argument in arguments:
        path, separator, test = argument.partition("::")
        if path and not path.startswith("-") and before not in _TAKES_WORDS and (standing / path).exists():
            result.append(f"{standing / path}{separator}{test}")
        else:
            result.append(argument)
        before = argument
    return result


def _standing() -> Path:
    return Path(os.environ.get("BENCH_CWD") or Path.cwd())


def _prepare() -> None:
    """See to it that pytest and all else is there, in the versions of requirements/test.txt."""
    if Path(sys.prefix).resolve() != (ROOT / ".venv").resolve():
        return  # somebody's own environment: nothing is installed into that
    if not bootstrap.tests_are_current(ROOT):
        command = [sys.executable, "-I", "-B", str(ROOT / "bpfbench" / "bootstrap.py"), "test"]
        if subprocess.run(command, check=False).returncode != 0:
            raise BenchError(
                "what the tests need is not installed", hint="see above; then again: ./bench test"
            )


def _root_for_somebody() -> bool:
    return os.geteuid() == 0 and os.environ.get("SUDO_UID", "0") != "0"


def _root_cache() -> Path:
    return Path(pwd.getpwuid(0).pw_dir) / ".cache" / "bpfbench"


def _caches() -> list[str]:
    return ["-o", f"cache_dir={_root_cache() / 'pytest'}"] if _root_for_somebody() else []


def _environment() -> dict[str, str]:
    """The tests' environment; under sudo, root leaves no caches in a checkout that is not its own."""
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_TESTS}
    if _root_for_somebody():
        environment |= {
            "PYTHONDONTWRITEBYTECODE": "1",
            "HYPOTHESIS_STORAGE_DIRECTORY": str(_root_cache() / "hypothesis"),
            "RUFF_CACHE_DIR": str(_root_cache() / "ruff"),
            "MYPY_CACHE_DIR": str(_root_cache() / "mypy"),
        }
    return environment
