"""The little of an experiment that its tasks need to know, so that a list of tasks decodes no experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bpfbench.model.types import Experiment, Model


class Outline(NamedTuple):
    """An experiment from outside."""

    name: str
    title: str
    packages: tuple[str, ...]
    """What it executes: the workload's packages and those of its arms' runtimes, sorted."""
    needs: tuple[str, ...]
    """Names of system requirements."""
    arms: tuple[str, ...]
    cases: tuple[str, ...]


def outline_of(experiment: Experiment, model: Model) -> Outline:
    """Return the outline of one experiment."""
    runtimes = [model.runtimes[arm.runtime] for arm in experiment.arms]
    packages = {*experiment.packages, *(name for runtime in runtimes for name in runtime.packages)}
    arms, cases = tuple(arm.name for arm in experiment.arms), tuple(case.name for case in experiment.cases)
    return Outline(experiment.name, experiment.title, tuple(sorted(packages)), experiment.needs, arms, cases)


def outlines(model: Model) -> list[Outline]:
    """Return the outlines of all experiments, in the model's order; a model from the cache knows them by heart."""
    known: list[Outline] | None = getattr(model.experiments, "outlines", None)
    if known is not None:
        return known
    return [outline_of(experiment, model) for experiment in model.experiments.values()]
