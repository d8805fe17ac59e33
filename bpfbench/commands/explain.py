"""``doit explain TASK…``: which components of a task's key changed since it last ran, from what to what."""

from __future__ import annotations

import json
from typing import Any

from doit.cmd_base import DoitCmdBase
from doit.exceptions import InvalidCommand
from doit.task import Task

from bpfbench.commands.names import nearest

_LONGEST = 60


class Explain(DoitCmdBase):  # type: ignore[misc]
    """Say why a task would run."""

    name = "explain"
    doc_purpose = "say which component of a task's key changed, from what to what"
    doc_usage = "TASK ..."

    def _execute(self, pos_args: list[str]) -> int:
        if not pos_args:
            raise InvalidCommand("`explain` wants the name of a task, e.g. `doit explain run_uprobe`")
        tasks = {task.name: task for task in self.task_list}
        for name in pos_args:
            if name not in tasks:
                raise InvalidCommand(f"no task is called {name!r}{nearest(name, tasks)}")
            self.outstream.write("\n".join(explain(tasks[name])) + "\n")
        return 0


def explain(task: Task) -> list[str]:
    """Return lines that say where a task stands and what changed."""
    step = task.meta.get("step") if task.meta else None
    if step is None:
        return [f"{task.name}: has no key: it runs when what it provides is missing"]
    standing = step.standing()
    lines = [f"{task.name}: {'up to date' if standing.uptodate else 'would run'}: {standing.why}"]
    for change in (step.changed() or []) if not standing.uptodate else []:
        lines.append(f"  {change.path}: {_short(change.before)} → {_short(change.after)}")
    return lines


def _short(value: Any) -> str:
    if value is None:
        return "(absent)"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
