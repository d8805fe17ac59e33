"""The tasks that a selection stands for, in the order in which they would run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from doit.exceptions import InvalidCommand
from doit.task import Task

from bpfbench.commands.names import nearest


def closure(tasks: Iterable[Task], selected: Iterable[str]) -> list[Task]:
    """Return the selected tasks and all they depend on, dependencies first.

    As in `doit run`, a name may be a pattern with ``*``. Raises ``InvalidCommand`` for what is no task.
    """
    by_name = {task.name: task for task in tasks}
    ordered: dict[str, Task] = {}
    begun: set[str] = set()
    # A stack of its own: a long chain of tasks must not meet Python's limit on calls.
    stack = [(name, False) for pattern in selected for name in matching(by_name, pattern)][::-1]
    while stack:
        name, finished = stack.pop()
        if finished:
            ordered[name] = by_name[name]
        elif name not in begun:
            begun.add(name)
            stack.append((name, True))
            stack += [(needed, False) for needed in reversed(by_name[name].task_dep)]
    return list(ordered.values())


def matching(by_name: Mapping[str, Task], pattern: str) -> list[str]:
    """Return the names of the tasks that ``pattern`` stands for."""
    found = [pattern] if pattern in by_name else []
    if "*" in pattern:
        found = [name for name in by_name if fnmatchcase(name, pattern)]
    if not found:
        near = nearest(pattern, by_name)
        raise InvalidCommand(f"no task is called {pattern!r}{near}\n  → `./bench list` shows all tasks")
    return found
