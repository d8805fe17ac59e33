"""How a step becomes a doit task: one target (its pointer), one ``uptodate`` callable, one action.

A task holds how to make its step and makes it when it is looked at: `doit list` looks at none.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from bpfbench import context
from bpfbench.errors import BenchError

if TYPE_CHECKING:
    from doit.exceptions import TaskFailed

    from bpfbench.measuring import MeasureStep
    from bpfbench.progress import Progress
    from bpfbench.steps import Step

_MAIN = os.getpid()


def unless_empty(create: Callable[[], Iterator[dict[str, Any]]]) -> Callable[[], Iterator[dict[str, Any]] | None]:
    """Let a creator that yields nothing make nothing: doit would make an empty group in its name."""

    @functools.wraps(create)
    def created() -> Iterator[dict[str, Any]] | None:
        tasks = list(create())
        return (task for task in tasks) if tasks else None

    return created


def action(name: str, work: Callable[[Progress], object]) -> Callable[[], TaskFailed | None]:
    """Return a doit action that does ``work`` with a live progress line; a ``BenchError`` fails the task without a traceback."""

    def act() -> TaskFailed | None:
        from doit.exceptions import TaskFailed

        from bpfbench.commands.worker import follow_parent
        from bpfbench.progress import Progress
        from bpfbench.store.files import UNWRITABLE, unwritable

        follow_parent(_MAIN)
        try:
            with Progress(context.current().layout.progress, name) as progress:
                work(progress)
        except BenchError as error:
            return TaskFailed(str(error))
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            return TaskFailed(str(unwritable(error.filename or "what this task makes", error)))
        return None

    return act


class Uptodate:
    """What doit asks whether a task is up to date.

    doit looks up the parameters of whatever it calls. That takes as long as the answer, unless an object tells them itself.
    """

    __signature__ = inspect.Signature()

    def __init__(self, name: str, make: Callable[[], Step | MeasureStep], glimpse: Callable[[], str] | None) -> None:
        self._name, self._make, self._glimpse = name, make, glimpse

    def __call__(self) -> bool:
        """Whether the item of the present key is realised, intact and shown."""
        try:
            if self._glimpse is None:
                return self._make().standing().uptodate
            return context.current().glances.uptodate(self._name, self._glimpse, lambda: self._make().look())
        except BenchError:
            return False  # the action meets the same error, and fails this task alone with it

    def __repr__(self) -> str:
        return f"`./bench explain {self._name}`"


class StepOf:
    """Makes a task's step when it is looked at, and says in `doit info` what it is."""

    def __init__(self, name: str, make: Callable[[], Step | MeasureStep]) -> None:
        self._name, self._make = name, make

    def __call__(self) -> Step | MeasureStep:
        """Return the step, made anew: it holds no state."""
        return self._make()

    def __repr__(self) -> str:
        return f"`./bench explain {self._name}`"


def task_of(
    name: str, doc: str, step: Callable[[], Step | MeasureStep], after: Iterable[str] = (),
    *, glimpse: Callable[[], str] | None = None, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Return the doit task of a step; ``after`` names the tasks that make what it is made from.

    ``glimpse``: the step tells all files that it depends on, and this what else, so that it need not be looked at closely each time.
    """
    made = StepOf(name, step)
    return {
        "basename": name,
        "doc": doc,
        "targets": [f"{context.current().pointers}{name}.json"],
        "uptodate": [Uptodate(name, step, glimpse)],
        "task_dep": list(after),
        "actions": [action(name, lambda progress: made().run(progress))],
        "meta": {"step": made},
        **more,
    }


def clean_view(step: Callable[[], Step]) -> Callable[[bool], None]:
    """Return what `doit clean` does for a step whose item is shown: the view goes, the store keeps the item."""

    def remove_what_is_shown(dryrun: bool) -> None:
        for path in step().shown_files():
            print(f"{'would remove' if dryrun else 'removing'} {os.path.relpath(path, context.current().cwd)}")
        if not dryrun:
            step().forget_view()

    remove_what_is_shown.__qualname__ = "that removes what is shown"  # doit says it
    return remove_what_is_shown
