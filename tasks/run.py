"""run_<experiment>: measures, on a machine it has to itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from tasks.task import task_of, unless_empty

if TYPE_CHECKING:
    from bpfbench.measuring import MeasureStep


@unless_empty
def task_runs() -> Iterator[dict[str, Any]]:
    """Measure each experiment."""
    context = current()
    for experiment in context.chosen:
        after = [f"build_{name}" for name in context.packages(experiment.name)]
        after += [f"system:{experiment.name}"] * bool(experiment.needs)
        step, glimpse = functools.partial(_step, context, experiment.name), functools.partial(_glimpse, context, experiment.name)
        yield task_of(f"run_{experiment.name}", f"measure: {experiment.title}", step, after, glimpse=glimpse)


def _glimpse(context: Context, experiment: str) -> str:
    """Return which outputs would be measured, and why others are missing."""
    known, names = context.glimpsed, context.packages(experiment)
    for name in names:
        if name not in known:
            from bpfbench.building import glimpse

            known[name] = glimpse(context, name)
    return "\n".join([known[name] for name in names])


def _step(context: Context, experiment: str) -> MeasureStep:
    from bpfbench.building import output_of
    from bpfbench.measuring import MeasureStep

    return MeasureStep(context, experiment, functools.partial(output_of, context), _missing(context))


def _missing(context: Context) -> Callable[[str], str | None]:
    from bpfbench.building import unavailable

    return lambda name: unavailable(context, context.model.packages[name])
