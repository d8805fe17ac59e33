"""``doit plan [TASK…]``: what would run, why, for how long, with how much disk.

Runs nothing and locks nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doit.task import Task

from bpfbench.commands.closure import closure
from bpfbench.commands.durations import Expected, expected
from bpfbench.commands.reading import ReadingCommand
from bpfbench.commands.text import counted, duration, one_line, size
from bpfbench.errors import BenchError
from bpfbench.steps import WAITS

_MOST = 6
"""Tasks that are named as what another one waits for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One task of a plan. ``certain`` is False when it runs only if what it is made from comes out different."""

    task: str
    runs: bool
    why: str
    expected: Expected = field(default_factory=Expected)
    certain: bool = True


class Plan(ReadingCommand):
    """Show what `doit run` would do."""

    name = "plan"
    doc_purpose = "show what would run, why, for how long and with how much disk"
    doc_usage = "[TASK ...]"

    def _execute(self) -> int:
        here = self.load()
        entries = plan(closure(self.task_list, self.sel_tasks))
        self.outstream.write("".join(f"{line}\n" for line in told(entries, _free(here.layout.store))))
        return 0


def plan(tasks: Iterable[Task]) -> list[Entry]:
    """Return what would happen to each task, dependencies first: one that waits for another that runs, may too."""
    entries: list[Entry] = []
    runs: dict[str, bool] = {}
    for task in tasks:
        before = [name for name in task.task_dep if name in runs]
        if not task.actions:  # a group stands for its sub-tasks
            if before:
                runs[task.name] = any(runs[name] for name in before)
            continue
        entry = _entry(task, before)
        entries.append(entry)
        if entry.runs:
            runs[task.name] = entry.certain
    return entries


def told(entries: list[Entry], free: int) -> list[str]:
    """Return a plan in lines, for people; ``free`` is the room on the disk in bytes."""
    running = [entry for entry in entries if entry.runs]
    if not running:
        return [f"nothing to do: {counted(len(entries), 'task')} up to date"]
    width = max(len(entry.task) for entry in running)
    times = [_time(entry.expected) for entry in running]
    column = max(len(time) for time in times)
    lines = [f"{e.task:<{width}}  {t:<{column}}  {e.why}" for e, t in zip(running, times, strict=True)]
    return [*lines, _total(running, len(entries), free)]


def _entry(task: Task, before: list[str]) -> Entry:
    make = (task.meta or {}).get("step")
    if make is None:  # a system task: its one uptodate callable says it all
        lacking = [] if all(check() for check, _, _ in task.uptodate) else task.meta["requirements"]
        return Entry(task.name, bool(lacking), f"some of it is missing: {', '.join(r.name for r in lacking)}")
    try:
        step = make()
        return _of_step(task.name, step, step.standing(), before)
    except BenchError as error:
        reason = one_line(error.message)
        why = f"after {_few(before)}: {reason}" if before else f"cannot be told: {reason}"
        return Entry(task.name, True, why)


def _of_step(name: str, step: Any, standing: Any, before: list[str]) -> Entry:
    if standing.uptodate and not before:
        return Entry(name, False, standing.why)
    names = _few(before)
    if standing.uptodate:
        return Entry(name, True, f"only if {names} comes out different", expected(step), certain=False)
    why = standing.why
    if before:
        why = f"after {names}" if why == WAITS else f"{why}; after {names}"
    return Entry(name, True, why, expected(step))


def _few(names: list[str]) -> str:
    """Return names in words; of a report's hundreds the first."""
    return ", ".join(names[:_MOST]) + (f" and {len(names) - _MOST} more" if len(names) > _MOST else "")


def _time(expected: Expected) -> str:
    if expected.seconds is None:
        return "?"
    return f"{'at most' if expected.bound else 'about'} {duration(expected.seconds)}"


def _total(running: list[Entry], total: int, free: int) -> str:
    known = [entry.expected for entry in running if entry.expected.seconds is not None]
    bounded = any(entry.bound for entry in known) or not all(entry.certain for entry in running)
    room = [entry.expected.bytes for entry in running if entry.expected.bytes is not None]
    parts = [f"{len(running)} of {counted(total, 'task')} would run"]
    if known:
        word = "at most" if bounded else "about"
        parts.append(f"{word} {duration(sum(entry.seconds or 0 for entry in known))}")
    if unknown := len(running) - len(known):
        parts.append(f"{counted(unknown, 'task')} of unknown length")
    parts.append(f"disk: {f'about {size(sum(room))}' if room else 'unknown'}, {size(free)} free")
    return "; ".join(parts)


def _free(place: Path) -> int:
    """Return the free bytes of the disk where the store is, or will be."""
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(os.fspath(place)).free
