"""How a step becomes a doit task: one target (its pointer), one ``uptodate`` callable, one action."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from doit.exceptions import TaskFailed

from bpfbench import context
from bpfbench.commands.worker import follow_parent
from bpfbench.errors import BenchError
from bpfbench.progress import Progress
from bpfbench.steps import Step

_MAIN = os.getpid()


def action(name: str, work: Callable[[Progress], object]) -> Callable[[], TaskFailed | None]:
    """Return a doit action that does ``work`` with a live progress line; a ``BenchError`` fails the task without a traceback."""

    def act() -> TaskFailed | None:
        follow_parent(_MAIN)
        try:
            with Progress(context.current().layout.progress, name) as progress:
                work(progress)
        except BenchError as error:
            return TaskFailed(str(error))
        return None

    return act


def task_of(step: Step, doc: str, after: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """Return the doit task of a step; ``after`` names the tasks that make what it is made from."""
    return {
        "basename": step.name,
        "doc": doc,
        "targets": [str(step.pointer)],
        "uptodate": [lambda: step.standing().uptodate],
        "task_dep": list(after),
        "actions": [action(step.name, step.run)],
        "meta": {"step": step},
        **more,
    }
