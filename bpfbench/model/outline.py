"""The little of an experiment that its tasks need to know, so that a list of tasks decodes no experiment."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from bpfbench.model.types import Experiment, Model


class Outline(NamedTuple):
    """An experiment from outside."""

    name: str
    title: str
    workload: tuple[str, ...]
    """The packages that it executes whatever the arm."""
    needs: tuple[str, ...]
    """Names of system requirements."""
    arms: tuple[str, ...]
    cases: tuple[str, ...]
    runtimes: tuple[tuple[str, ...], ...]
    """The packages of each arm's runtime."""

    def packages(self, arms: Collection[str] | None) -> tuple[str, ...]:
        """Return what it executes on those arms, or on all: the workload's packages and those of the arms' runtimes, sorted."""
        chosen = [names for arm, names in zip(self.arms, self.runtimes, strict=True) if arms is None or arm in arms]
        return tuple(sorted({*self.workload, *(name for names in chosen for name in names)}))


def outline_of(experiment: Experiment, model: Model) -> Outline:
    """Return the outline of one experiment."""
    runtimes = tuple(model.runtimes[arm.runtime].packages for arm in experiment.arms)
    arms, cases = tuple(arm.name for arm in experiment.arms), tuple(case.name for case in experiment.cases)
    return Outline(experiment.name, experiment.title, experiment.packages, experiment.needs, arms, cases, runtimes)


def outlines(model: Model) -> list[Outline]:
    """Return the outlines of all experiments, in the model's order; a model from the cache knows them by heart."""
    known: list[Outline] | None = getattr(model.experiments, "outlines", None)
    if known is not None:
        return known
    return [outline_of(experiment, model) for experiment in model.experiments.values()]
