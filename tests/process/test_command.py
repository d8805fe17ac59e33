from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpfbench.errors import BenchError
from bpfbench.process.command import Command, Exit, minimal_env, signal_name


def test_the_minimal_environment_takes_nothing_from_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/somewhere.so")
    monkeypatch.setenv("PATH", "/mine")
    env = minimal_env(Path("/home/someone"))
    assert set(env) == {"PATH", "HOME", "LANG"}
    assert env["HOME"] == "/home/someone"
    assert "/usr/bin" in env["PATH"].split(":")
    assert "/mine" not in env["PATH"].split(":")


@pytest.mark.parametrize(
    ("argv", "env", "name"),
    [
        ((), {}, "x"),
        (("a\0b",), {}, "x"),
        (("a",), {"A=B": "c"}, "x"),
        (("a",), {"A": "c\0"}, "x"),
        (("a",), {}, "../x"),
        (("a",), {}, ""),
        (("a", 3), {}, "x"),
    ],
)
def test_a_command_that_cannot_be_executed_is_refused_at_once(argv, env, name) -> None:
    with pytest.raises(BenchError):
        Command(argv, env, Path("/"), name)


@pytest.mark.parametrize(
    ("status", "code", "signal"), [(0, 0, None), (3 << 8, 3, None), (11, None, "SIGSEGV")]
)
def test_an_exit_has_a_code_or_a_signal(status: int, code: int | None, signal: str | None) -> None:
    exit = Exit.of({"status": status, "wall": 1.5, "user": 0.5, "system": 0.25, "max_rss_kib": 7})
    assert (exit.code, exit.signal, exit.ok) == (code, signal, status == 0)
    assert (exit.wall, exit.user, exit.system, exit.max_rss_kib) == (1.5, 0.5, 0.25, 7)
    assert (signal or f"status {code}") in str(exit)


def test_signals_without_a_name_have_a_number() -> None:
    assert signal_name(9) == "SIGKILL"
    assert signal_name(int(os.sysconf("SC_RTSIG_MAX")) + 8) == "signal 40"
