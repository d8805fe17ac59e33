"""``doit explain TASK…``: which components of a task's key changed since it last ran, from what to what."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from doit.exceptions import InvalidCommand
from doit.task import Task

from bpfbench import system
from bpfbench.commands.closure import closure
from bpfbench.commands.reading import ReadingCommand
from bpfbench.errors import BenchError

_LONGEST = 60
_DIGEST = re.compile(r"sha256-[0-9A-Za-z+/]{43}=|[0-9a-f]{40,}")


class Explain(ReadingCommand):
    """Say why a task would run."""

    name = "explain"
    doc_purpose = "say which component of a task's key changed, from what to what"
    doc_usage = "TASK ..."

    def _execute(self, pos_args: list[str]) -> int:
        self.load()
        if not pos_args:
            raise InvalidCommand("`explain` wants the name of a task, e.g. `./bench explain run_uprobe`")
        for name in pos_args:
            *needed, task = closure(self.task_list, [name])
            lines = [*explain(task), *_needed(needed)]
            self.outstream.write("\n".join(lines) + "\n")
        return 0


def explain(task: Task) -> list[str]:
    """Return lines that say where a task stands and what changed."""
    if not task.actions:
        return [f"{task.name}: stands for {', '.join(task.task_dep)}"]
    make = (task.meta or {}).get("step")
    if make is None:
        return list(_of_system(task))
    try:
        step = make()
        standing = step.standing()
        changed = [] if standing.uptodate else step.changed() or []
    except BenchError as error:
        return [f"{task.name}: would run, and fail: {error}"]
    lines = [f"{task.name}: {'up to date' if standing.uptodate else 'would run'}: {standing.why}"]
    lines += [f"  {change.path}: {_short(change.before)} → {_short(change.after)}" for change in changed]
    if not standing.uptodate and not changed and step.last() is None:
        key = step.key()
        lines += [f"  {name}: {_short(value)}" for name, value in key.components.items()] if key else []
    return lines


def _needed(tasks: list[Task]) -> Iterator[str]:
    """Yield what there is to say of the tasks that a task is made from, as far as they would run."""
    for task in tasks:
        head, *more = explain(task) if task.actions else [""]
        if "would run" in head or "missing" in head:
            yield from (f"  {line}" for line in [f"made from {head}", *more])


def _of_system(task: Task) -> Iterator[str]:
    requirements = task.meta["requirements"]
    lacking = system.missing(requirements)
    yield f"{task.name}: {'would run: something is missing' if lacking else 'up to date: everything is there'}"
    for requirement in requirements:
        yield f"  {requirement.name}: {'missing' if requirement in lacking else 'there'} ({requirement.why})"


def _short(value: Any) -> str:
    if value is None:
        return "(absent)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = _DIGEST.sub(lambda found: found[0][:19] + "…", text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
