"""The tasks that a selection stands for, in the order in which they would run."""

from __future__ import annotations

from collections.abc import Iterable

from doit.exceptions import InvalidCommand
from doit.task import Task

from bpfbench.commands.names import nearest


def closure(tasks: Iterable[Task], selected: Iterable[str]) -> list[Task]:
    """Return the selected tasks and all they depend on, dependencies first."""
    by_name = {task.name: task for task in tasks}
    ordered: dict[str, Task] = {}

    def visit(name: str) -> None:
        if name in ordered:
            return
        task = by_name[name]
        for needed in task.task_dep:
            visit(needed)
        ordered[name] = task

    for name in selected:
        if name not in by_name:
            raise InvalidCommand(f"no task is called {name!r}{nearest(name, by_name)}; `doit list` shows all")
        visit(name)
    return list(ordered.values())
