from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.measure.machine import activity
from bpfbench.measure.machine.activity import Consumer, Process
from bpfbench.measure.machine.sysroot import Sysroot
from bpfbench.measure.noise import Meter, Noise, judge, survey, ticks

MachineMaker = Callable[[str], Sysroot]


def write(root: Sysroot, name: str, text: str) -> None:
    """Keep the inode: the meter holds the files open."""
    file = Path(root.real(name))
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as stream:
        stream.write(text)


STAT = "cpu  {} 0 0 {} 0 0 0 {} 0 0\ncpu0 {} 0 0 {} 0 0 0 {} 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 5\n"


def stat(user: int, idle: int, steal: int) -> str:
    return STAT.format(user, idle, steal, user, idle, steal)


def test_fractions_come_from_the_difference(machine: MachineMaker) -> None:
    root = machine("isolated")
    write(root, "/proc/stat", stat(1000, 5000, 10))
    write(root, "/proc/pressure/cpu", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000\n")
    with Meter(root) as meter:
        meter.start()
        write(root, "/proc/stat", stat(1300, 5650, 60))
        write(root, "/proc/pressure/cpu", "some avg10=9.00 avg60=0.00 avg300=0.00 total=1001\n")
        write(root, "/proc/loadavg", "1.25 0.58 0.59 1/823 4242\n")
        write(root, "/sys/fs/cgroup/bench/cpu.stat", "nr_throttled 1\nthrottled_usec 250000\n")
        found = meter.stop(ours=2.0)
    assert found.total == pytest.approx(10.0)
    assert found.busy == pytest.approx(3.0)
    assert found.steal == pytest.approx(0.05)
    assert found.busy_others == pytest.approx(
        0.1, abs=0.02
    )  # 3 s busy, 2 s ours and a little of the test itself
    assert found.load1 == 1.25
    assert found.waiting == pytest.approx(1e-6)
    assert found.quota_stopped == pytest.approx(0.25)
    assert found.throttled is None, "this machine has no thermal counters"
    assert found.frequency_mhz is None


def test_thermal_events_and_frequency(machine: MachineMaker) -> None:
    root = machine("intel-laptop")
    with Meter(root) as meter:
        meter.start()
        write(root, "/sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "9\n")
        found = meter.stop()
    assert found.throttled == 2
    assert found.frequency_mhz == pytest.approx(2150.0)  # CPUs 0 to 3
    assert found.busy_others is None, "nobody said what was ours"
    assert judge(found).verdict == "noisy"


def test_the_quota_of_cgroup_v1_is_told_in_nanoseconds(machine: MachineMaker) -> None:
    root = machine("cloud-vm")
    with Meter(root) as meter:
        meter.start()
        write(
            root, "/sys/fs/cgroup/cpu,cpuacct/jobs/ci/cpu.stat", "nr_throttled 3\nthrottled_time 750000000\n"
        )
        assert meter.stop().quota_stopped == pytest.approx(0.25)


def test_only_the_selected_cpus_count(machine: MachineMaker) -> None:
    root = machine("isolated")
    with Meter(root, cpus=[2, 3]) as meter:
        meter.start()
        text = Path(root.real("/proc/stat")).read_text().splitlines()
        changed = [
            " ".join([line.split()[0], str(int(line.split()[1]) + 100), *line.split()[2:]])
            if line.startswith(("cpu0 ", "cpu2 "))
            else line
            for line in text
        ]
        write(root, "/proc/stat", "\n".join(changed) + "\n")
        assert meter.stop().busy == pytest.approx(1.0)


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    with Meter(Sysroot(tmp_path)) as meter:
        meter.start()
        found = meter.stop(ours=1.0)
    assert (found.steal, found.busy_others, found.load1, found.psi_cpu_some) == (None, None, None, None)
    assert judge(found).verdict == "quiet"
    assert judge(found).warnings == ()


def test_counters_that_step_back_count_as_nothing(machine: MachineMaker) -> None:
    root = machine("isolated")
    write(root, "/proc/stat", stat(1000, 5000, 10))
    with Meter(root) as meter:
        meter.start()
        write(root, "/proc/stat", stat(990, 4000, 5))
        found = meter.stop(ours=0.0)
    assert (found.busy, found.stolen, found.total) == (0, 0, 0)


def test_stop_without_start_is_a_mistake() -> None:
    with Meter() as meter, pytest.raises(RuntimeError):
        meter.stop()


def test_a_meter_leaves_no_file_open() -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    meter = Meter()
    assert len(os.listdir("/proc/self/fd")) > before  # noqa: PTH208
    meter.close()
    meter.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_sample_reads_only_a_handful_of_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes it cheap: nothing is opened, and only a few small files are read."""
    with Meter() as meter:
        meter.start()
        calls: list[int] = []
        genuine = os.pread

        def counting(handle: int, size: int, offset: int) -> bytes:
            calls.append(handle)
            return genuine(handle, size, offset)

        monkeypatch.setattr(os, "pread", counting)
        monkeypatch.setattr(os, "open", lambda *words: pytest.fail("opened a file"))
        meter.stop()
    assert 2 <= len(calls) <= 30


NOISES = st.builds(
    Noise,
    elapsed=st.floats(0, 100),
    total=st.floats(0, 100),
    busy=st.floats(0, 100),
    stolen=st.floats(0, 100),
    ours=st.none() | st.floats(0, 100),
    waiting=st.none() | st.floats(0, 100),
    throttled=st.none() | st.integers(0, 5),
    quota_stopped=st.none() | st.floats(0, 1),
    load1=st.none() | st.floats(0, 100),
    frequency_mhz=st.none() | st.floats(100, 6000),
)


@given(NOISES)
def test_a_journal_keeps_everything(noise: Noise) -> None:
    assert Noise.from_json(json.loads(json.dumps(noise.as_json()))) == noise


@given(NOISES, NOISES)
def test_adding_samples_adds_their_times(one: Noise, other: Noise) -> None:
    both = one + other
    assert both.total == one.total + other.total
    assert both.stolen == one.stolen + other.stolen
    assert (both.ours is None) == (one.ours is None or other.ours is None)
    if both.steal is not None and both.total > 1e-3 and one.steal is not None and other.steal is not None:
        assert min(one.steal, other.steal) * 0.999 <= both.steal <= max(one.steal, other.steal) * 1.001


@given(NOISES)
def test_more_steal_is_never_quieter(noise: Noise) -> None:
    from dataclasses import replace

    order = ("quiet", "noisy", "busy")
    worse = replace(noise, stolen=noise.stolen + noise.total)
    assert order.index(judge(worse).verdict) >= order.index(judge(noise).verdict)
    assert (judge(noise).verdict == "quiet") == (judge(noise).warnings == ())


def measured(
    *,
    total: float = 10.0,
    busy: float = 1.0,
    stolen: float = 0.0,
    ours: float | None = 1.0,
    waiting: float = 0.0,
) -> Noise:
    return Noise(elapsed=total / 2, total=total, busy=busy, stolen=stolen, ours=ours, waiting=waiting)


@pytest.mark.parametrize(
    ("noise", "verdict", "says"),
    [
        (measured(), "quiet", ""),
        (measured(stolen=0.2), "noisy", "steal"),
        (measured(stolen=2.0), "busy", "20 %"),
        (measured(busy=2.0), "noisy", "other processes used 10 %"),
        (measured(busy=9.0), "busy", "other processes used 80 %"),
        (measured(busy=9.0, ours=None), "quiet", ""),
        (measured(waiting=2.0), "noisy", "wait for a CPU"),
        (Noise(elapsed=1.0, quota_stopped=0.05), "noisy", "quota"),
        (Noise(elapsed=1.0, quota_stopped=0.5), "busy", "500 ms"),
        (measured(total=0.2, busy=0.2, ours=0.0), "quiet", ""),  # too few ticks to say anything
    ],
)
def test_verdicts(noise: Noise, verdict: str, says: str) -> None:
    found = judge(noise)
    assert found.verdict == verdict
    assert says in " ".join(found.warnings)
    assert bool(found.warnings) == bool(says)


def test_consumers_are_named_but_few() -> None:
    greedy = [Consumer(100 + number, f"make{number}", 0.5) for number in range(9)]
    (words,) = judge(measured(busy=9.0), greedy).warnings
    assert "make0 (pid 100, 50 % of a CPU)" in words
    assert "make8" not in words


def test_a_stat_line_with_a_hostile_command() -> None:
    line = "42 (a) R 1 (b\n) S 7 42 42 0 -1 4194560 1 2 3 4 250 50 0 0 20 0 1 0 12345 0 0\n"
    assert activity.parse(line) == Process(42, 7, "a) R 1 (b?", 300, 12345)


@given(st.text())
def test_stat_parsers_take_anything(text: str) -> None:
    activity.parse(text)
    found = ticks(text)
    assert found is None or found.total >= found.busy >= 0


def test_consumers_between_two_readings() -> None:
    before = {
        1: Process(1, 0, "init", 10, 1),
        5: Process(5, 1, "old", 900, 50),
        7: Process(7, 1, "ours", 0, 60),
    }
    after = {
        1: Process(1, 0, "init", 10, 1),
        5: Process(5, 1, "new", 100, 99),  # the pid was used again: all its ticks are new
        6: Process(6, 1, "fresh", 50, 70),
        7: Process(7, 1, "ours", 80, 60),
        8: Process(8, 7, "child", 80, 61),
    }
    found = activity.consumers(before, after, 2.0, ours=[7])
    assert [(each.pid, each.command, each.cpus) for each in found] == [(5, "new", 0.5), (6, "fresh", 0.25)]


def test_family_is_finite_even_in_a_circle() -> None:
    circle = {1: Process(1, 2, "a", 0, 0), 2: Process(2, 1, "b", 0, 0), 3: Process(3, 9, "c", 0, 0)}
    assert activity.family(circle, [1]) == {1, 2}


def test_survey_finds_a_process_that_spins() -> None:
    code = "import sys, time; print('on', flush=True)\nwhile time.process_time() < 20: pass"
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, text=True
    ) as spinner:
        try:
            assert spinner.stdout is not None
            assert spinner.stdout.readline() == "on\n"
            # a child of ours does not count …
            found = survey(0.3)
            assert spinner.pid not in {each.pid for each in found.consumers}
            assert found.noise.ours is not None
            assert found.noise.ours > 0.01
            # … unless it is looked at by somebody else
            before = activity.census(Sysroot())
            time.sleep(0.3)
            seen = activity.consumers(before, activity.census(Sysroot()), 0.3)
            assert spinner.pid in {each.pid for each in seen}
        finally:
            spinner.kill()


def test_this_machine_can_be_watched() -> None:
    spent = time.process_time() + 0.3
    with Meter() as meter:
        meter.start()
        while time.process_time() < spent:
            pass
        found = meter.stop(ours=0.0)
    assert found.ours == pytest.approx(0.3, abs=0.1), "this process's own time is added"
    assert found.busy >= 0.2, "this loop alone keeps a CPU busy for 0.3 s"
    assert found.total >= found.busy
    assert found.load1 is not None
