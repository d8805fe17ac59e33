"""Requirements that may be missing: tried where something can be installed, and not at every call."""

from pathlib import Path

import pytest

from bpfbench import optional, system
from bpfbench.errors import BenchError
from bpfbench.model.types import Requirement

LLVM = Requirement("llvm", "code", {"debian": ("llvm-14-dev",)}, command="no-such-command", optional=True)


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let installing fail, on a machine that could install; return what was tried."""
    tried: list[str] = []

    def install(requirements: list[Requirement], announce: object) -> None:
        tried.extend(one.name for one in requirements)
        raise BenchError("apt-get could not install it\nand said so", hint="x")

    monkeypatch.setattr(system, "installable", lambda requirements: True)
    monkeypatch.setattr(system, "install", install)
    return tried


def test_a_failed_attempt_is_told_and_not_repeated_for_a_day(
    tmp_path: Path, installs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    assert optional.worth_trying(tmp_path, LLVM)
    optional.install(tmp_path, LLVM, said.append)
    assert installs == ["llvm"]
    assert said == ["going on without llvm (code): apt-get could not install it"]
    assert not optional.worth_trying(tmp_path, LLVM)
    later = optional.time.time() + optional.AGAIN + 1
    monkeypatch.setattr(optional.time, "time", lambda: later)
    assert optional.worth_trying(tmp_path, LLVM)


def test_nothing_is_tried_where_nothing_can_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "family", lambda: "fedora")
    assert not optional.worth_trying(tmp_path, LLVM)


def test_what_is_there_needs_no_installing(tmp_path: Path) -> None:
    there = Requirement("sh", "shell", {"debian": ("dash",)}, command="sh", optional=True)
    optional.install(tmp_path, there, pytest.fail)
    assert not list(tmp_path.iterdir())
