"""Folds the records of a journal into what is known about each cell. Used by the loop to resume, and to make the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from bpfbench.measure.journal import Record
from bpfbench.measure.schedule import CellId


@dataclass(slots=True)
class CellState:
    """What the journal says of one cell. ``status`` is ``open`` as long as nothing speaks against it."""

    status: str = "open"
    reason: str | None = None
    plan: dict[str, int] | None = None
    stopped: str | None = None
    blocks: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)
    expected: int = 0
    observed: int = 0
    proof_kind: str | None = None
    engine: str | None = None
    backend: str | None = None
    evidence: dict[str, Any] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Take in a sample that counts."""
        self.blocks.append(record["block"])
        for name, value in record["metrics"].items():
            self.values.setdefault(name, []).append(value)
        self._prove(record)

    def refuse(self, record: Record) -> None:
        """Take in that the cell cannot be measured; the proof shown is the one that did not hold."""
        self.status, self.reason = record["status"], record["reason"]
        self.expected = self.observed = 0
        self._prove(record)

    def _prove(self, record: Record) -> None:
        proof = record.get("proof")
        if proof:
            self.proof_kind = proof["kind"]
            self.expected += proof["expected"]
            self.observed += proof["observed"]
        self.engine = record.get("engine") or self.engine
        self.backend = record.get("backend") or self.backend
        self.evidence = record.get("evidence") or self.evidence


@dataclass(slots=True)
class State:
    """Everything that a journal says."""

    cells: dict[CellId, CellState] = field(default_factory=dict)
    begin: Record = field(default_factory=dict)
    end: Record | None = None
    warmups: int = 0
    """Finished blocks up to the warm-up's last, which has the number 0."""
    blocks: int = 0
    """Finished blocks after the warm-up."""
    resumed: int = 0
    sampled: float = 0.0
    """Seconds spent inside samples of finished blocks, pilots included."""
    noise: list[dict[str, Any]] = field(default_factory=list)
    """What the machine did during each sample."""

    def cell(self, case: str, arm: str) -> CellState:
        """Return the state of a cell, made on first use."""
        return self.cells.setdefault((case, arm), CellState())


def fold(records: Iterable[Record]) -> State:
    """Return the state after all *finished* blocks; samples of an unfinished block are left out.

    An unfinished block is the mark of a kill: some arms of it have a sample and others do not, so none of it counts.
    """
    state = State()
    pending: list[Record] = []
    for record in records:
        kind = record["kind"]
        if kind == "begin":
            state.begin = record
        elif kind == "resume":
            state.resumed += 1
            pending = []
        elif kind == "refused":
            state.cell(record["case"], record["arm"]).refuse(record)
        elif kind in ("pilot", "sample"):
            pending.append(record)
        elif kind == "block":
            _finish_block(state, record, pending)
            pending = []
        elif kind == "end":
            state.end = record
    return state


def _finish_block(state: State, record: Record, pending: list[Record]) -> None:
    for sample in pending:
        cell = state.cell(sample["case"], sample["arm"])
        state.sampled += sample["wall"]
        state.noise.append(sample.get("noise") or {})
        if sample["status"] != "ok":
            cell.refuse(sample)
        elif sample["kind"] == "pilot":
            cell.plan = sample["plan"]
        elif sample["block"] > 0:
            cell.add(sample)
    for case, arm, why in record["stopped"]:
        state.cell(case, arm).stopped = why
    if record["block"] <= 0:
        state.warmups += 1
    else:
        state.blocks = record["block"]
