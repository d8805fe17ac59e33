"""run_<experiment>: measures, on a machine it has to itself."""

from collections.abc import Iterator
from typing import Any

from bpfbench.context import Context, current
from bpfbench.measuring import MeasureStep
from bpfbench.model.types import Experiment
from tasks.build import output_of
from tasks.task import task_of


def run_step(context: Context, experiment: Experiment) -> MeasureStep:
    """Return the step that measures an experiment."""
    return MeasureStep(context, experiment, lambda name: output_of(context, name))


def task_runs() -> Iterator[dict[str, Any]]:
    """Measure each experiment."""
    context = current()
    for experiment in context.chosen():
        step = run_step(context, experiment)
        after = [f"build_{name}" for name in step.packages()] + [f"system:{experiment.name}"] * bool(experiment.needs)
        yield task_of(step, f"measure: {experiment.title}", after)
