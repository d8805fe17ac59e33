"""As many jobs as there are CPUs and memory for."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.build import jobs

MEMINFO = "MemTotal:       99999999 kB\nMemFree:          10 kB\nMemAvailable:   {} kB\nBuffers:  1 kB\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(jobs, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(jobs, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "meminfo").write_text(MEMINFO.format(4096 * 1024))
    return tmp_path


@pytest.mark.parametrize(
    ("memory", "wanted"), [(1, 8), (256, 8), (512, 4), (1000, 2), (2048, 1), (1 << 20, 1), (0, 8)]
)
def test_half_of_the_free_memory_is_shared_out(machine: Path, memory: int, wanted: int) -> None:
    assert jobs.jobs(memory) == wanted


def test_a_containers_limit_counts(machine: Path) -> None:
    (machine / "memory.max").write_text(f"{3 << 30}\n")
    (machine / "memory.current").write_text(f"{2 << 30}\n")
    assert jobs.available_mib() == 1024
    assert jobs.jobs(128) == 4
    (machine / "memory.max").write_text("max\n")
    assert jobs.available_mib() == 4096


def test_a_machine_that_tells_nothing_is_used_by_its_cpus(machine: Path) -> None:
    (machine / "meminfo").unlink()
    assert jobs.available_mib() is None
    assert jobs.jobs(1 << 20) == 8


@given(st.integers(1, 1 << 22))
def test_here_there_is_always_one_and_never_more_than_cpus(memory: int) -> None:
    assert 1 <= jobs.jobs(memory) <= len(os.sched_getaffinity(0))
