"""How quiet the machine is: a cheap meter around every sample, a judgement in words, and who takes the CPU.

    with Meter() as meter:
        meter.start()
        …                               # the sample
        noise = meter.stop(ours=1.25)   # CPU seconds that the sample's processes had, without this one
    judgement = judge(noise)

Times in /proc/stat come in ticks of 10 ms: one sample of 50 ms says little, so add up the samples of a
block (``a + b``) before judging them. A judgement of ``busy`` means that the caller should refuse to
measure.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from typing import Literal

from bpfbench.measure.machine import activity, cpu
from bpfbench.measure.machine.activity import TICK, Consumer
from bpfbench.measure.machine.sysroot import Json, Sysroot, Unreadable, whole

STEAL_NOISY = 0.01
"""One percent of the time taken by the hypervisor is as large as the differences that we want to see."""
STEAL_BUSY = 0.10
"""Stolen time falls on a sample whole or not at all: at a tenth, medians wander by more than any interval
says."""
OTHERS_NOISY = 0.05
"""Other processes then use caches and memory enough to shift maps and hashes by percents."""
OTHERS_BUSY = 0.40
"""On two CPUs that is most of one: victim and harness no longer have a CPU each, and the scheduler is
measured."""
PRESSURE_NOISY = 0.20
"""Part of the time in which something that could run had to wait (our own harness and victim included)."""
QUOTA_BUSY = 0.10
"""Part of the time in which the cgroup's quota stopped us: what is measured then is the quota."""
LEAST_TICKS = 50
"""Ticks below which fractions are not judged: half a CPU second, where one tick more or less is 2 %."""
CONSUMERS_NAMED = 3
FREQUENCY_CPUS = 4
"""CPUs whose frequency is read: each costs the kernel a look at that CPU's counters."""

Verdict = Literal["quiet", "noisy", "busy"]


@dataclass(frozen=True, slots=True)
class Noise:
    """What happened between start and stop, as sums, so that samples can be added; fractions are properties.

    Times in seconds over all (selected) CPUs; ``throttled`` counts thermal events. None: this machine does
    not tell.
    """

    elapsed: float = 0.0
    total: float = 0.0
    """CPU time that there was: elapsed time × CPUs, in whole ticks."""
    busy: float = 0.0
    stolen: float = 0.0
    ours: float | None = 0.0
    """CPU time that our own processes had, as far as the caller knew."""
    waiting: float | None = 0.0
    """Time in which some task waited for a CPU (pressure stall information)."""
    throttled: int | None = 0
    quota_stopped: float | None = 0.0
    """Time that this process's cgroup stood still because its quota was spent."""
    load1: float | None = None
    """Load average at the last stop."""
    frequency_mhz: float | None = None
    """Mean frequency at the stops, weighted by elapsed time."""

    @property
    def steal(self) -> float | None:
        """Fraction of the CPU time that the hypervisor took; None before the first tick."""
        return self.stolen / self.total if self.total else None

    @property
    def busy_others(self) -> float | None:
        """Fraction of the CPU time that processes had which are not ours; None where ours is not known."""
        if self.ours is None or not self.total:
            return None
        return min(max(self.busy - self.ours, 0.0) / self.total, 1.0)

    @property
    def psi_cpu_some(self) -> float | None:
        """Fraction of the time in which some task waited for a CPU."""
        return None if self.waiting is None or not self.elapsed else min(self.waiting / self.elapsed, 1.0)

    def __add__(self, other: Noise) -> Noise:
        summed = {name: _plus(getattr(self, name), getattr(other, name)) for name in _SUMS}
        load = self.load1 if other.load1 is None else other.load1
        return Noise(**summed, load1=load, frequency_mhz=_mean_frequency(self, other))  # type: ignore[arg-type]

    def as_json(self) -> dict[str, Json]:
        """Return the sums for a journal, and the fractions for people who read it."""
        sums: dict[str, Json] = {field.name: getattr(self, field.name) for field in fields(self)}
        return sums | {
            "steal": self.steal,
            "busy_others": self.busy_others,
            "psi_cpu_some": self.psi_cpu_some,
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Json]) -> Noise:
        """Return what ``as_json`` wrote."""
        return cls(**{field.name: record[field.name] for field in fields(cls)})  # type: ignore[arg-type]


_SUMS = ("elapsed", "total", "busy", "stolen", "ours", "waiting", "throttled", "quota_stopped")


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _mean_frequency(one: Noise, other: Noise) -> float | None:
    known = [(each.frequency_mhz, each.elapsed) for each in (one, other) if each.frequency_mhz is not None]
    weight = sum(elapsed for _, elapsed in known)
    return sum(mhz * elapsed for mhz, elapsed in known) / weight if weight else None


@dataclass(frozen=True, slots=True)
class Ticks:
    """Sums of /proc/stat over the selected CPUs since boot, in ticks."""

    total: int
    busy: int
    steal: int


def ticks(text: str, cpus: frozenset[int] | None = None) -> Ticks | None:
    """Sum the CPU lines of /proc/stat, of all CPUs or of some; None when they are not there."""
    wanted = {"cpu"} if cpus is None else {f"cpu{number}" for number in cpus}
    total = busy = steal = 0
    found = False
    for name, numbers in re.findall(r"^(cpu\d*)((?: +\d{1,20}){4,})$", text, re.MULTILINE | re.ASCII):
        if name not in wanted:
            continue
        found = True
        # user nice system idle iowait irq softirq steal; guest times, which follow, are part of user and nice
        values = [int(number) for number in numbers.split()[:8]] + [0] * 8
        user, nice, system, idle, iowait, irq, softirq, stolen = values[:8]
        ran = user + nice + system + irq + softirq
        total, busy, steal = total + ran + idle + iowait + stolen, busy + ran, steal + stolen
    return Ticks(total, busy, steal) if found else None


@dataclass(frozen=True, slots=True)
class _Reading:
    clock: float
    ticks: Ticks | None
    waiting: int | None
    throttled: int | None
    quota_stopped: int | None
    own: float
    """CPU seconds of this process itself so far."""


class Meter:
    """Reads a few open files at start and at stop. ``cpus``: look at these CPUs only (default: all)."""

    def __init__(self, root: Sysroot | None = None, cpus: Iterable[int] | None = None) -> None:
        self._root = root or Sysroot()
        self._cpus = None if cpus is None else frozenset(cpus)
        online = _online(self._root)
        watched = sorted(self._cpus if self._cpus is not None else online)[:FREQUENCY_CPUS]
        self._stat = self._open("/proc/stat")
        self._load = self._open("/proc/loadavg")
        self._pressure = self._open("/proc/pressure/cpu")
        self._quota, self._quota_unit = self._open_quota()
        each = [f"{cpu.CPUS}/cpu{number}" for number in watched]
        self._thermal = self._open_all(f"{base}/thermal_throttle/core_throttle_count" for base in each)
        self._frequency = self._open_all(f"{base}/cpufreq/scaling_cur_freq" for base in each)
        self._before: _Reading | None = None

    def __enter__(self) -> Meter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; more than once does no harm."""
        single = [each for each in (self._stat, self._load, self._pressure, self._quota) if each is not None]
        for handle in [*single, *self._thermal, *self._frequency]:
            os.close(handle)
        self._stat = self._load = self._pressure = self._quota = None
        self._thermal, self._frequency = [], []

    def start(self) -> None:
        """Begin an interval."""
        self._before = self._read()

    def stop(self, ours: float | None = None) -> Noise:
        """End the interval. ``ours``: CPU seconds that our own processes had in it (user + system), if
        known."""
        if self._before is None:
            raise RuntimeError("Meter.stop() without start()")
        before, after = self._before, self._read()
        self._before = None
        known = before.ticks is not None and after.ticks is not None
        change = _ticks_between(before.ticks, after.ticks)
        return Noise(
            elapsed=after.clock - before.clock,
            total=change.total / TICK,
            busy=change.busy / TICK,
            stolen=change.steal / TICK,
            ours=ours + after.own - before.own if known and ours is not None else None,
            waiting=_between(before.waiting, after.waiting, 1e-6),
            throttled=_count_between(before.throttled, after.throttled),
            quota_stopped=_between(before.quota_stopped, after.quota_stopped, self._quota_unit),
            load1=_first_number(self._text(self._load)),
            frequency_mhz=self._mhz(),
        )

    def _read(self) -> _Reading:
        thermal = [_whole(self._text(handle)) for handle in self._thermal]
        return _Reading(
            time.monotonic(),
            ticks(self._text(self._stat), self._cpus),
            _field(self._text(self._pressure), r"^some .*\btotal=(\d+)"),
            sum(filter(None, thermal)) if thermal and None not in thermal else None,
            _field(self._text(self._quota), r"^throttled_(?:usec|time) (\d+)"),
            time.process_time(),
        )

    def _mhz(self) -> float | None:
        found = [khz for handle in self._frequency if (khz := _whole(self._text(handle)))]
        return sum(found) / len(found) / 1000 if found else None

    def _open(self, name: str) -> int | None:
        try:
            return os.open(self._root.real(name), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None

    def _open_all(self, names: Iterable[str]) -> list[int]:
        return [handle for handle in map(self._open, names) if handle is not None]

    def _open_quota(self) -> tuple[int | None, float]:
        from bpfbench.measure.machine import limits

        try:
            tree = limits.hierarchy(self._root, "cpu")
        except Unreadable:
            return None, 0.0
        return self._open(f"{tree.directory}/cpu.stat"), 1e-6 if tree.version == 2 else 1e-9

    def _text(self, handle: int | None) -> str:
        """Return a file's content now, or nothing: files of /proc and /sys are written anew for every
        reading at 0."""
        if handle is None:
            return ""
        parts: list[bytes] = []
        with suppress(OSError):
            while part := os.pread(handle, 1 << 16, sum(map(len, parts))):
                parts.append(part)
        return b"".join(parts).decode("ascii", "replace")


def _online(root: Sysroot) -> tuple[int, ...]:
    try:
        return cpu.topology(root).online
    except Unreadable:
        return ()


def _field(text: str, pattern: str) -> int | None:
    found = re.search(pattern, text, re.MULTILINE)
    return whole(found.group(1)) if found else None


def _whole(text: str) -> int | None:
    return _field(text, r"\A\s*(\d+)\s*\Z")


def _first_number(text: str) -> float | None:
    found = re.match(r"[0-9]{1,9}(?:\.[0-9]{1,9})?(?= )", text)
    return float(found.group()) if found else None


def _between(before: int | None, after: int | None, unit: float) -> float | None:
    return None if before is None or after is None else max(after - before, 0) * unit


def _count_between(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(after - before, 0)


def _ticks_between(before: Ticks | None, after: Ticks | None) -> Ticks:
    """The kernel's idle and iowait sums may step back a little: then nothing is what passed."""
    if before is None or after is None:
        return Ticks(0, 0, 0)
    busy, steal = max(after.busy - before.busy, 0), max(after.steal - before.steal, 0)
    return Ticks(max(after.total - before.total, busy + steal), busy, steal)


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict with everything that speaks against ``quiet``, in words; the worst finding decides."""

    verdict: Verdict
    warnings: tuple[str, ...]


def judge(noise: Noise, consumers: Iterable[Consumer] = ()) -> Judgement:
    """Judge an interval (best a sum of several samples). ``consumers`` are named when other processes are
    the matter."""
    found = [*_judge_ticks(noise, tuple(consumers)), *_judge_events(noise)]
    order: tuple[Verdict, ...] = ("quiet", "noisy", "busy")
    worst = max((order.index(verdict) for verdict, _ in found), default=0)
    return Judgement(order[worst], tuple(words for _, words in found))


def _judge_ticks(noise: Noise, consumers: tuple[Consumer, ...]) -> Iterable[tuple[Verdict, str]]:
    if noise.total * TICK < LEAST_TICKS:
        return
    steal, others = noise.steal or 0.0, noise.busy_others
    if steal >= STEAL_NOISY:
        words = f"the hypervisor took {_percent(steal)} of the CPU time (steal)"
        yield "busy" if steal >= STEAL_BUSY else "noisy", words
    if others is not None and others >= OTHERS_NOISY:
        named = ", ".join(map(str, consumers[:CONSUMERS_NAMED]))
        words = f"other processes used {_percent(others)} of the CPU time{f': {named}' if named else ''}"
        yield "busy" if others >= OTHERS_BUSY else "noisy", words


def _judge_events(noise: Noise) -> Iterable[tuple[Verdict, str]]:
    pressure = noise.psi_cpu_some
    if pressure is not None and noise.elapsed >= LEAST_TICKS / TICK and pressure >= PRESSURE_NOISY:
        yield "noisy", f"in {_percent(pressure)} of the time something had to wait for a CPU (pressure)"
    if noise.throttled:
        yield "noisy", f"the processor was throttled {noise.throttled} times because of its temperature"
    if noise.quota_stopped:
        part = noise.quota_stopped / noise.elapsed if noise.elapsed else 1.0
        words = f"the CPU quota of our cgroup stopped us for {noise.quota_stopped * 1000:.0f} ms"
        yield "busy" if part >= QUOTA_BUSY else "noisy", words


def _percent(fraction: float) -> str:
    return f"{fraction * 100:.1f} %" if fraction < 0.1 else f"{fraction * 100:.0f} %"


@dataclass(frozen=True, slots=True)
class Survey:
    """A look at the machine while we do nothing: what a run starts into."""

    noise: Noise
    consumers: tuple[Consumer, ...]
    judgement: Judgement


def survey(seconds: float = 1.0, ours: Iterable[int] = (), root: Sysroot | None = None) -> Survey:
    """Watch for some seconds, and name who takes the CPU. ``ours``: pids that do not count, with their
    descendants.

    This process and its descendants never count as others.
    """
    root = root or Sysroot()
    with Meter(root) as meter:
        before = activity.census(root)
        meter.start()
        own = {os.getpid(), *ours}
        time.sleep(seconds)
        after = activity.census(root)
        named = activity.consumers(before, after, seconds, own)
        others = {each.pid for each in named} | {os.getpid()}
        spent = sum(
            each.cpus for each in activity.consumers(before, after, seconds) if each.pid not in others
        )
        noise = meter.stop(ours=spent * seconds)
    return Survey(noise, named, judge(noise, named))
