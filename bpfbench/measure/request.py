"""What one run is asked to do, and the key under which its samples lie in the store."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.codedigest import PACKAGE
from bpfbench.measure import standing
from bpfbench.sampling import Cell
from bpfbench.store.keys import Key, make_key

if TYPE_CHECKING:
    from bpfbench.codedigest import CodeDigests
    from bpfbench.measure.fingerprint import Fingerprint
    from bpfbench.model.types import Arm, Case, Experiment, Profile, Runtime

MEASURING_CODE = (
    "sampling.py", "measure/loop.py", "measure/schedule.py", "measure/prerequisites.py", "process",
)
"""What decides how a sample is taken. Statistics and reports are no part of it: changing them never measures again."""


@dataclass(frozen=True, slots=True)
class Output:
    """A built package that the run executes: store item ``id``, its ``tree`` and the tree's ``hash``."""

    id: str
    tree: Path
    hash: str
    about: Mapping[str, Any] = field(default_factory=dict)
    """What every result is to say of it, e.g. the options that it was built with."""


@dataclass(frozen=True, slots=True)
class Request:
    """One experiment under one profile, whole or in part."""

    experiment: Experiment
    runtimes: Mapping[str, Runtime]
    profile: Profile
    outputs: Mapping[str, Output]
    machine: Fingerprint
    arms: tuple[str, ...] | None = None
    cases: tuple[str, ...] | None = None
    budget: float | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    take: str | None = None
    accept_noise: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    """Package that cannot be had → why: arms that execute it are *unsupported*."""

    @property
    def partial(self) -> bool:
        """Whether other cases or arms are asked for than this profile measures."""
        name = self.experiment.name
        return self.chosen_arms != self._arms(self.profile.arms.get(name)) or self.chosen_cases != self._of(self.profile.cases.get(name))

    @property
    def chosen_arms(self) -> tuple[Arm, ...]:
        """The arms asked for, or else those of the profile, in the spec's order."""
        return self._arms(self.arms or self.profile.arms.get(self.experiment.name))

    @property
    def chosen_cases(self) -> tuple[Case, ...]:
        """The cases asked for, or else those of the profile, in the spec's order."""
        return self._of(self.cases or self.profile.cases.get(self.experiment.name))

    def _arms(self, names: Collection[str] | None) -> tuple[Arm, ...]:
        return tuple(arm for arm in self.experiment.arms if names is None or arm.name in names)

    def _of(self, names: Collection[str] | None) -> tuple[Case, ...]:
        return tuple(case for case in self.experiment.cases if names is None or case.name in names)

    @property
    def seconds(self) -> float:
        """The sampling budget."""
        return self.profile.budget_of(self.experiment.name) if self.budget is None else self.budget

    def runtime(self, arm: Arm) -> Runtime:
        """Return the runtime of an arm."""
        return self.runtimes[arm.runtime]

    def lacks(self, cell: Cell) -> list[str]:
        """Return the packages that a cell cannot be measured without, each with why it cannot be had."""
        needed = (*self.experiment.packages, *cell.runtime.packages)
        return [f"{name}: {self.missing[name]}" for name in dict.fromkeys(needed) if name in self.missing]

    def cells(self) -> list[Cell]:
        """Return every chosen case on every chosen arm, in the spec's order."""
        return [Cell(case, arm, self.runtime(arm)) for case in self.chosen_cases for arm in self.chosen_arms]


def run_key(request: Request, codes: CodeDigests, state: Path) -> Key:
    """Return the key of the request's measurement: everything that can change its samples (design, decision 3).

    ``state`` is a directory for what was learnt about this machine.
    """
    experiment, profile = request.experiment, request.profile
    return make_key(
        f"measure-{experiment.name}",
        {
            "experiment": {
                "name": experiment.name,
                "driver": experiment.driver,
                "params": {**experiment.params, **profile.params.get(experiment.name, {})},
                "metrics": [[metric.name, metric.unit, metric.per] for metric in experiment.metrics],
                "cases": {case.name: _case(case) for case in request.chosen_cases},
            },
            "arms": {arm.name: _arm(arm, request.runtime(arm)) for arm in request.chosen_arms},
            "profile": extent(request),
            "outputs": {name: request.outputs[name].hash for name in sorted(_executed(request) & request.outputs.keys())},
            "code": codes.of([*MEASURING_CODE, *driver_code(experiment.driver)]),
            "machine": request.machine.digest,
            "take": request.take,
            "prerequisites": standing.remembered(required(request), state / "prerequisites.json"),
            **({"missing": missed} if (missed := sorted(_executed(request) & request.missing.keys())) else {}),
        },
    )


def driver_code(driver: str) -> list[str]:
    """Return the modules of a driver: its own, and those of other drivers' that it imports, however indirectly."""
    found: list[str] = []
    wanted = [driver]
    while wanted:
        name = wanted.pop()
        place = f"drivers/{name}.py"
        if place not in found:
            found.append(place)
            wanted += re.findall(r"^from bpfbench\.drivers\.(\w+) import", (PACKAGE / place).read_text("utf-8"), re.MULTILINE)
    return sorted(found)


def required(request: Request) -> list[str]:
    """Return the names of the prerequisites of all chosen arms."""
    return sorted({name for arm in request.chosen_arms for name in request.runtime(arm).requires})


def _executed(request: Request) -> set[str]:
    """Return the packages that the chosen arms execute: another one is nothing to them."""
    return {*request.experiment.packages, *(name for arm in request.chosen_arms for name in request.runtime(arm).packages)}


def _case(case: Case) -> dict[str, Any]:
    return {"divisor": case.divisor, "attaches": list(case.attaches), "params": dict(case.params)}


def _arm(arm: Arm, runtime: Runtime) -> dict[str, Any]:
    return {
        "runtime": runtime.name, "where": runtime.where, "requires": list(runtime.requires),
        "attaches": list(runtime.attaches), "loader_env": dict(runtime.loader_env), "target_env": dict(runtime.target_env),
        "engine": runtime.engine, "backend": runtime.backend, "status": runtime.status, "options": dict(arm.options),
        **({"log": asdict(runtime.log)} if runtime.log else {}),
        **({"deviates": dict(runtime.deviates)} if runtime.deviates else {}),
    }


def extent(request: Request) -> dict[str, Any]:
    """Return how much the request measures, as it stands in the key."""
    profile = request.profile
    return {
        "name": profile.name, "least_blocks": profile.least_blocks, "most_blocks": profile.most_blocks,
        "warmup_blocks": profile.warmup_blocks, "half_width": profile.half_width, "budget": request.seconds,
        "sample_time": profile.sample_time,
    }
