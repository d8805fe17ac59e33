"""The measuring loop: a warm-up block, then randomised blocks until every case is narrow or the budget is spent.

The loop knows no workload and no runtime. It asks the driver for samples, writes each to the journal, and stops a case on
the *width* of its intervals only, never on what they say: stopping on a verdict would make verdicts come true.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bpfbench.errors import BenchError
from bpfbench.measure.fold import CellState, State, fold
from bpfbench.measure.journal import Journal, Record
from bpfbench.measure.noise import Meter
from bpfbench.measure.schedule import CellId, block_order
from bpfbench.model.types import Metric
from bpfbench.sampling import Bench, Cell, Driver, Plan, Sample
from bpfbench.stats import stopping

LEAST_ROOM = 1 << 20
"""Bytes that must be free on the disk, or else a failed sample is not believed to have failed by itself."""


@dataclass(frozen=True, slots=True)
class Design:
    """How a run samples; all of it is recorded in the result. ``budget`` is in seconds of sampling."""

    seed: int
    warmup_blocks: int
    """Blocks before the counted ones; the first of them holds the pilots, so there is at least one."""
    least_blocks: int
    most_blocks: int
    half_width: float
    budget: float


@dataclass(frozen=True, slots=True)
class Pace:
    """How far a run is: sample ``done`` of ``total`` in ``block``; ``widest`` is the widest relative half-width so far."""

    block: int
    done: int
    total: int
    widest: float | None
    sampled: float


class Loop:
    """One run over its cells, going on from whatever its journal already holds."""

    def __init__(
        self, bench: Bench, driver: Driver, cells: Iterable[Cell], design: Design, journal: Journal,
        records: list[Record], report: Callable[[Pace], None] = lambda pace: None,
    ) -> None:
        self.bench, self.driver, self.design = bench, driver, design
        self.journal, self.records, self.report = journal, records, report
        self.cells: dict[CellId, Cell] = {cell.id: cell for cell in cells}
        self.metric = primary(bench.experiment.metrics).name
        self.state: State = fold(records)
        self.widest: float | None = None
        self._number = len(records)
        self._meter = Meter()

    def run(self) -> State:
        """Sample until done and return the final state; the journal then ends with an ``end`` record."""
        with self._meter:
            self._sample_all()
        return self.state

    def _sample_all(self) -> None:
        if self.state.end is None:
            while (warm := self.state.warmups) < self.design.warmup_blocks and self._active(self.state):
                self._block(warm + 1 - self.design.warmup_blocks, self._active(self.state))
            while active := self._active(self.state):
                self._block(self.state.blocks + 1, active)
            self._append("end", blocks=self.state.blocks, wall_clock=round(time.time(), 3))
            self.journal.sync()
            self.state = fold(self.records)

    def _active(self, state: State) -> list[CellId]:
        """Return the cells that still want samples."""
        return [
            id for id in sorted(self.cells) if state.cell(*id).status == "open" and state.cell(*id).stopped is None
        ]

    def _block(self, block: int, cells: list[CellId]) -> None:
        order = block_order(self.design.seed, block, cells)
        for done, id in enumerate(order):
            self.report(Pace(block, done, len(order), self.widest, self.state.sampled))
            self._take(block, self.cells[id])
        # Seen as if the block were finished, to decide who goes on; the decision is part of the block's own record.
        seen = fold([*self.records, {"kind": "block", "block": block, "stopped": []}])
        self._append("block", block=block, stopped=self._stops(seen) if block > 0 else [])
        self.journal.sync()
        self.state = fold(self.records)

    def _take(self, block: int, cell: Cell) -> None:
        """Take one sample into the journal, with what the machine did meanwhile."""
        self._number += 1
        self._meter.start()
        begun = time.monotonic()
        known = self.state.cell(*cell.id).plan
        plan: Plan
        if known is None:
            sample, plan = self.driver.pilot(self.bench, cell)
        else:
            sample, plan = self.driver.sample(self.bench, cell, known, self._number), known
        if sample.status == "failed":
            self._blame_full_disk(sample)
        wall = round(time.monotonic() - begun, 6)
        self._append(
            "pilot" if known is None else "sample", block=block, case=cell.case.name, arm=cell.arm.name, wall=wall,
            noise=self._meter.stop(sample.cpu).as_json() | {"calm": sample.calm}, plan=dict(plan), **plain(sample),
        )

    def _blame_full_disk(self, sample: Sample) -> None:
        """A program whose words have no room on the disk looks like one that died or keeps silent: that is not its arm's fault."""
        if shutil.disk_usage(self.bench.work).free < LEAST_ROOM:
            raise BenchError(
                f"{os.strerror(errno.ENOSPC)}: {self.bench.work}, where samples are taken ({sample.reason})",
                hint="make room on that disk and run the same command again: finished blocks are kept",
            )

    def _stops(self, state: State) -> list[tuple[str, str, str]]:
        """Return (case, arm, why) for all cells that need no further block."""
        active = self._active(state)
        widths = {id: self._width(state.cell(*id)) for id in active}
        self.widest = max(widths.values(), default=None)
        if state.blocks < self.design.least_blocks:
            return []
        if state.sampled >= self.design.budget:
            return [(*id, self._last_reason(state, id, "budget")) for id in active]
        if state.blocks >= self.design.most_blocks:
            return [(*id, self._last_reason(state, id, "blocks")) for id in active]
        wide = {case for case, arm in active if not self._narrow(state.cell(case, arm))}
        return [(case, arm, "width") for case, arm in active if case not in wide]

    def _last_reason(self, state: State, id: CellId, otherwise: str) -> str:
        return "width" if self._narrow(state.cell(*id)) else otherwise

    def _width(self, cell: CellState) -> float:
        return stopping.relative_half_width(cell.values[self.metric])

    def _narrow(self, cell: CellState) -> bool:
        return stopping.narrow(cell.values[self.metric], self.design.half_width, self.design.least_blocks)

    def _append(self, kind: str, **fields: Any) -> None:
        self.records.append(self.journal.append(kind, **fields))


def primary(metrics: Iterable[Metric]) -> Metric:
    """Return the metric that steers the stop rule (the model sees to it that there is exactly one)."""
    return next(metric for metric in metrics if metric.primary)


def plain(sample: Sample) -> Mapping[str, Any]:
    """Return a sample as JSON fields of a journal record."""
    return {
        "status": sample.status,
        "reason": sample.reason,
        "metrics": dict(sample.metrics),
        "proof": asdict(sample.proof) if sample.proof else None,
        "engine": sample.engine,
        "backend": sample.backend,
        "evidence": dict(sample.evidence),
    }
