"""What the measuring loop and a driver hand each other: cells to sample, and samples that carry their own proof.

A *cell* is one case on one arm. A *driver* (a module of ``bpfbench.drivers``) knows how to run a kind of workload; the loop in
``bpfbench.measure`` knows when, how often and in which order. Neither imports the other: both import this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from bpfbench.model.types import Arm, Case, Experiment, Profile, Runtime
    from bpfbench.process.reaper import Reaper

Status = Literal["ok", "failed", "unsupported", "skipped"]
Plan = Mapping[str, int]
"""What a pilot decided for all later samples of a cell, e.g. how many calls: fixed, so that expected counts are exact."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One case on one arm."""

    case: Case
    arm: Arm
    runtime: Runtime

    @property
    def id(self) -> tuple[str, str]:
        """``(case, arm)``: how a cell is named everywhere."""
        return self.case.name, self.arm.name


@dataclass(frozen=True, slots=True)
class Proof:
    """Evidence that a sample measured what it says: ``observed`` must equal ``expected`` exactly."""

    kind: str
    expected: int
    observed: int

    @property
    def holds(self) -> bool:
        """Whether the evidence is there."""
        return self.expected == self.observed


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a cell. Only an ``ok`` sample has metrics; any other has a ``reason``."""

    status: Status
    reason: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    proof: Proof | None = None
    engine: str | None = None
    backend: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)
    cpu: float | None = None
    """CPU seconds that the sample's own processes had, so that all others can be told apart; None: not known."""
    calm: float | None = None
    """Fraction of the sample's rounds that had the core to themselves; None: not known."""

    @classmethod
    def failed(cls, reason: str, **more: Any) -> Sample:
        """Return a sample that did not work out, for ``reason``."""
        return cls("failed", reason, **more)

    @classmethod
    def unsupported(cls, reason: str, **more: Any) -> Sample:
        """Return a sample that this machine cannot give, for ``reason``."""
        return cls("unsupported", reason, **more)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a driver works with during one run."""

    experiment: Experiment
    profile: Profile
    reaper: Reaper
    outputs: Mapping[str, Path]
    """Package name → its output tree."""
    work: Path
    """This run's private directory, thrown away afterwards."""
    measured_cpus: frozenset[int]
    """Where the measured program runs."""
    other_cpus: frozenset[int]
    """Where everything else of the sample runs."""


class Driver(Protocol):
    """A module of ``bpfbench.drivers``, or anything that looks like one."""

    def pilot(self, bench: Bench, cell: Cell) -> tuple[Sample, Plan]:
        """Try the cell once, and decide how much each later sample does. Its metrics are never used."""
        ...

    def sample(self, bench: Bench, cell: Cell, plan: Plan, number: int) -> Sample:
        """Measure the cell once with fresh processes. ``number`` is unique within the run."""
        ...
