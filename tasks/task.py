"""How a step becomes a doit task: one target (its pointer), one ``uptodate`` callable, one action.

A task holds how to make its step and makes it when it is looked at: `doit list` looks at none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bpfbench import context
from bpfbench.errors import BenchError

if TYPE_CHECKING:
    from doit.exceptions import TaskFailed

    from bpfbench.measuring import MeasureStep
    from bpfbench.progress import Progress
    from bpfbench.steps import Step

_MAIN = os.getpid()


def action(name: str, work: Callable[[Progress], object]) -> Callable[[], TaskFailed | None]:
    """Return a doit action that does ``work`` with a live progress line; a ``BenchError`` fails the task without a traceback."""

    def act() -> TaskFailed | None:
        from doit.exceptions import TaskFailed

        from bpfbench.commands.worker import follow_parent
        from bpfbench.progress import Progress

        follow_parent(_MAIN)
        try:
            with Progress(context.current().layout.progress, name) as progress:
                work(progress)
        except BenchError as error:
            return TaskFailed(str(error))
        return None

    return act


def task_of(
    name: str, doc: str, step: Callable[[], Step | MeasureStep], after: Iterable[str] = (), **more: Any
) -> dict[str, Any]:
    """Return the doit task of a step; ``after`` names the tasks that make what it is made from."""

    def uptodate() -> bool:
        try:
            return step().standing().uptodate
        except BenchError:
            return False  # the action meets the same error, and fails this task alone with it

    return {
        "basename": name,
        "doc": doc,
        "targets": [str(context.current().layout.pointers / f"{name}.json")],
        "uptodate": [uptodate],
        "task_dep": list(after),
        "actions": [action(name, lambda progress: step().run(progress))],
        "meta": {"step": step},
        **more,
    }


def clean_view(step: Callable[[], Step]) -> Callable[[bool], None]:
    """Return what `doit clean` does for a step whose item is shown: the view goes, the store keeps the item."""

    def clean(dryrun: bool) -> None:
        for path in step().shown_files():
            print(f"{'would remove' if dryrun else 'removing'} {os.path.relpath(path)}")
        if not dryrun:
            step().forget_view()

    return clean
