"""``doit plan [TASK…]``: what would run, why, for how long, with how much disk. Runs nothing, locks nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass

from doit.cmd_base import DoitCmdBase
from doit.task import Task

from bpfbench import context
from bpfbench.commands.closure import closure
from bpfbench.commands.durations import expected_seconds, expected_bytes
from bpfbench.commands.text import duration, size


@dataclass(frozen=True, slots=True)
class Entry:
    """One task of a plan. ``seconds`` and ``bytes`` are None where nothing is known yet."""

    task: str
    runs: bool
    why: str
    seconds: float | None
    bytes: int | None


class Plan(DoitCmdBase):  # type: ignore[misc]
    """Show what `doit run` would do."""

    name = "plan"
    doc_purpose = "show what would run, why, for how long and with how much disk"
    doc_usage = "[TASK ...]"

    def _execute(self) -> int:
        entries = plan(closure(self.task_list, self.sel_tasks))
        running = [entry for entry in entries if entry.runs]
        for entry in running:
            time = "?" if entry.seconds is None else f"about {duration(entry.seconds)}"
            self.outstream.write(f"{entry.task:<28} {time:<16} {entry.why}\n")
        self.outstream.write(_total(running, len(entries)))
        return 0


def plan(tasks: Iterable[Task]) -> list[Entry]:
    """Return what would happen to each task, dependencies first: one that waits for another that runs, runs too."""
    entries: list[Entry] = []
    runs: set[str] = set()
    for task in tasks:
        if not task.actions:
            continue
        entry = _entry(task, [name for name in task.task_dep if name in runs])
        entries.append(entry)
        if entry.runs:
            runs.add(task.name)
    return entries


def _entry(task: Task, waits_for: list[str]) -> Entry:
    step = task.meta.get("step") if task.meta else None
    if step is None:  # a system task: its one uptodate callable says it all
        uptodate = all(check() for check, _, _ in task.uptodate)
        return Entry(task.name, not uptodate, "" if uptodate else "is not installed", None, None)
    standing = step.standing()
    why = standing.why
    if waits_for and not standing.uptodate and "waits" in why:
        why = f"after {', '.join(waits_for)}"
    elif waits_for and standing.uptodate:
        why = f"again if {', '.join(waits_for)} comes out different"
    runs = not standing.uptodate or bool(waits_for)
    return Entry(task.name, runs, why, expected_seconds(step), expected_bytes(step)) if runs else Entry(task.name, False, why, 0, 0)


def _total(running: list[Entry], total: int) -> str:
    if not running:
        return f"nothing to do: all {total} tasks are up to date\n"
    seconds = sum(entry.seconds or 0 for entry in running)
    room = sum(entry.bytes or 0 for entry in running)
    unknown = sum(entry.seconds is None for entry in running)
    free = shutil.disk_usage(context.current().layout.root).free
    text = f"{len(running)} of {total} tasks would run, about {duration(seconds)}"
    if unknown:
        text += f" and {unknown} of unknown length"
    return f"{text}; about {size(room)} of disk ({size(free)} free)\n"
