"""Who uses the CPUs: the time that each process has had so far, and the difference between two such
readings."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from bpfbench.measure.machine.sysroot import Json, Sysroot, Unreadable

TICK = os.sysconf("SC_CLK_TCK")
"""Ticks a second of the times in /proc: 100 on every Linux, whatever CONFIG_HZ is."""

_STAT = re.compile(
    r"^(\d{1,9}) \((.*)\) \S (-?\d{1,9}) (?:-?\d+ ){9}(\d{1,20}) (\d{1,20}) (?:-?\d+ ){6}(\d{1,20}) ",
    re.DOTALL | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the census. ``ticks`` of CPU time since it began; ``started`` tells it from a later one
    with its pid."""

    pid: int
    parent: int
    command: str
    ticks: int
    started: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A process that had CPU time. ``cpus``: how many CPUs' worth, over the interval."""

    pid: int
    command: str
    cpus: float

    def __str__(self) -> str:
        return f"{self.command} (pid {self.pid}, {self.cpus * 100:.0f} % of a CPU)"

    def as_json(self) -> dict[str, Json]:
        """Return the fields as a JSON object."""
        return {"pid": self.pid, "command": self.command, "cpus": round(self.cpus, 3)}


def parse(text: str) -> Process | None:
    """Parse /proc/PID/stat (a command may hold blanks, parentheses and newlines); None for anything else."""
    found = _STAT.match(text)
    if not found:
        return None
    pid, command, parent, user, system, started = found.groups()
    printable = "".join(letter if letter.isprintable() else "?" for letter in command)
    return Process(int(pid), int(parent), printable, int(user) + int(system), int(started))


def census(root: Sysroot) -> Mapping[int, Process]:
    """Return all processes that we can see: pid → process. About 20 µs each. Raise Unreadable without
    /proc."""
    found: dict[int, Process] = {}
    for name in root.names("/proc"):
        if not (name.isascii() and name.isdigit()):
            continue
        try:
            process = parse(root.text(f"/proc/{name}/stat"))
        except Unreadable:
            continue  # it has ended since
        if process:
            found[process.pid] = process
    return found


def family(processes: Mapping[int, Process], roots: Iterable[int]) -> frozenset[int]:
    """Return ``roots`` and all that descend from them."""
    children: dict[int, list[int]] = {}
    for process in processes.values():
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    todo = list(roots)
    while todo:
        pid = todo.pop()
        if pid not in found:
            found.add(pid)
            todo.extend(children.get(pid, ()))
    return frozenset(found)


def consumers(
    before: Mapping[int, Process], after: Mapping[int, Process], seconds: float, ours: Iterable[int] = ()
) -> tuple[Consumer, ...]:
    """Return who had CPU time between two readings, greediest first, without ``ours`` and their
    descendants."""
    own = family(after, ours)
    found: list[Consumer] = []
    for pid, process in after.items():
        earlier = before.get(pid)
        same = earlier is not None and earlier.started == process.started
        ticks = process.ticks - (earlier.ticks if earlier and same else 0)
        if ticks > 0 and pid not in own and seconds > 0:
            found.append(Consumer(pid, process.command, ticks / TICK / seconds))
    return tuple(sorted(found, key=lambda each: (-each.cpus, each.pid)))
