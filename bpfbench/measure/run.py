"""One measurement from request to store item: lock the machine, see that it is quiet, loop, keep what was proved.

A run in which nothing failed becomes a store item (its journal, the environment, the logs). A run with a *failed* cell is
never cached: its result is shown, its logs are kept for a look, and the next run measures the experiment again as a whole.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError
from bpfbench.layout import Layout
from bpfbench.measure import environment, noise, standing
from bpfbench.measure.fold import State, fold
from bpfbench.measure.journal import Journal, begins_with, read
from bpfbench.measure.loop import Design, Loop, Pace
from bpfbench.measure.request import Output, Request, required
from bpfbench.measure.schedule import split_cpus
from bpfbench.process.reaper import Reaper
from bpfbench.progress import Progress
from bpfbench.sampling import Bench, Cell, Driver
from bpfbench.store.keys import Key
from bpfbench.store.locks import MachineLock
from bpfbench.store.store import Item, Store

QUIET_PATIENCE = 90.0
"""Seconds to wait for a busy machine to calm down before the run is refused."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run left: its folded journal, and the store item unless a cell failed."""

    state: State
    item: Item | None


class _CellFailed(Exception):
    """Keeps a run with a failed cell out of the store."""


def measure(request: Request, key: Key, layout: Layout, mark: str, progress: Progress) -> Measured:
    """Return the measurement of ``key``: from the store when it is there, else by measuring now."""
    store = Store(layout.store)
    folder = layout.journals / key.id

    def make(tree: Path) -> Mapping[str, Any]:
        state = _sample(request, key, layout, mark, folder, progress)
        if failed_cells(state):
            raise _CellFailed
        shutil.copytree(folder, tree, dirs_exist_ok=True)
        return {"wall": state.sampled, "blocks": state.blocks}

    try:
        item = store.realise(key, make)
    except _CellFailed:
        state = fold(read(folder / "journal.jsonl"))
        _keep_for_a_look(folder, layout.state / "failed" / request.experiment.name)
        return Measured(state, None)
    shutil.rmtree(folder, ignore_errors=True)
    return Measured(fold(read(item.tree / "journal.jsonl")), item)


def failed_cells(state: State) -> list[tuple[str, str]]:
    """Return the cells whose measurement failed."""
    return [id for id, cell in state.cells.items() if cell.status == "failed"]


def _sample(request: Request, key: Key, layout: Layout, mark: str, folder: Path, progress: Progress) -> State:
    """Take all samples into the journal in ``folder``, going on from an earlier, interrupted run of this boot."""
    identity = {"run_key": key.id, "boot_id": Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
    # Where nothing can be sampled, nobody needs to keep quiet.
    idle = all(map(request.lacks, request.cells()))
    with contextlib.nullcontext() if idle else _alone(progress):
        if not idle:
            _forget_other_boots(layout.journals, identity)
        records = _earlier(folder, identity)
        quiet = _wait_until_quiet(progress, accept=request.accept_noise or idle)
        work = layout.work / f"{os.getpid()}-{secrets.token_hex(4)}"
        work.mkdir(parents=True)
        try:
            with Journal(folder / "journal.jsonl") as journal, Reaper(mark) as reaper:
                if records:
                    records.append(journal.append("resume", at=round(time.time(), 3)))
                else:
                    records.append(journal.append("begin", **_begin(identity, request, layout, quiet)))
                _refuse_unsupported(request, layout, journal, records)
                bench = _bench(request, reaper, work)
                return _loop(request, bench, journal, records, progress).run()
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _alone(progress: Progress) -> AbstractContextManager[object]:
    """Return what keeps everybody else from building and measuring on this machine."""
    return MachineLock().exclusive(on_wait=lambda waited: progress("waiting until nobody else builds or measures on this machine"))


def _loop(request: Request, bench: Bench, journal: Journal, records: list[dict[str, Any]], progress: Progress) -> Loop:
    driver: Driver = importlib.import_module(f"bpfbench.drivers.{request.experiment.driver}").create()
    profile = request.profile
    design = Design(
        seed=records[0]["seed"], warmup_blocks=profile.warmup_blocks, least_blocks=profile.least_blocks, most_blocks=profile.most_blocks,
        half_width=profile.half_width, budget=request.seconds,
    )
    refused = {(record["case"], record["arm"]) for record in records if record["kind"] == "refused"}
    cells: list[Cell] = [cell for cell in request.cells() if cell.id not in refused]
    return Loop(bench, driver, cells, design, journal, records, _reporter(design, progress))


def _reporter(design: Design, progress: Progress) -> Callable[[Pace], None]:
    """Return what turns the loop's pace into one line and the time at which it is over at the latest."""
    begun: list[tuple[float, float]] = []

    def report(pace: Pace) -> None:
        now = time.time()
        width = "" if pace.widest is None else f", widest interval ±{100 * pace.widest:.1f} %"
        name = "warm-up" if pace.block <= 0 else f"block {pace.block} (of {design.least_blocks}–{design.most_blocks})"
        if pace.block > 0 and not begun:
            begun.append((now, finished(pace)))
        a_block = (now - begun[0][0]) / (finished(pace) - begun[0][1]) if begun and finished(pace) > begun[0][1] else None
        note = f"{name}, sample {pace.done + 1} of {pace.total}{width}"
        progress(note, done=pace.block, total=design.least_blocks, eta=now + longest(design, pace, a_block), bound=True)

    return report


def finished(pace: Pace) -> float:
    """Return how many counted blocks are done, the present one in part."""
    return max(0.0, pace.block - 1 + pace.done / max(1, pace.total))


def longest(design: Design, pace: Pace, a_block: float | None) -> float:
    """Return the seconds that a run still takes at most, when a block takes ``a_block`` seconds (None: not known).

    The budget bounds it, but the least blocks are taken in any case, and more than the most never are.
    """
    budget = max(0.0, design.budget - pace.sampled)
    if a_block is None:
        return budget
    least, most = ((blocks - finished(pace)) * a_block for blocks in (design.least_blocks, design.most_blocks))
    return max(0.0, least, min(budget, most))


def _begin(identity: Mapping[str, Any], request: Request, layout: Layout, quiet: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "format": 1, **identity, "seed": secrets.randbits(48), "started": round(time.time(), 3),
        "environment": {**environment.snapshot(checkout=layout.root), "before": dict(quiet), "placement": _placement()},
        "inputs": {name: _input(output) for name, output in request.outputs.items()},
    }


def _input(output: Output) -> dict[str, Any]:
    return {"item": output.id, "hash": output.hash, **({"about": dict(output.about)} if output.about else {})}


def _placement() -> dict[str, list[int]]:
    measured, other = split_cpus(sorted(os.sched_getaffinity(0)))
    return {"measured_cpus": sorted(measured), "other_cpus": sorted(other)}


def _bench(request: Request, reaper: Reaper, work: Path) -> Bench:
    measured, other = split_cpus(sorted(os.sched_getaffinity(0)))
    outputs = {name: output.tree for name, output in request.outputs.items()}
    return Bench(request.experiment, request.profile, reaper, outputs, work, measured, other)


def _refuse_unsupported(request: Request, layout: Layout, journal: Journal, records: list[dict[str, Any]]) -> None:
    """Mark, once, every cell whose arm lacks a prerequisite here or whose kind of attachment the runtime does not offer."""
    if any(record["kind"] in ("refused", "pilot") for record in records):
        return
    found = standing.tried(required(request), layout.state / "prerequisites.json")
    for cell in request.cells():
        reasons = [found[name].reason for name in cell.runtime.requires if not found[name].ok]
        lacking = [kind for kind in cell.case.attaches if cell.runtime.where != "none" and kind not in cell.runtime.attaches]
        reasons += [f"{cell.runtime.title} offers no {kind}" for kind in lacking]
        reasons += request.lacks(cell)
        if reasons:
            fields = {"case": cell.case.name, "arm": cell.arm.name, "status": "unsupported", "reason": "; ".join(map(str, reasons))}
            records.append(journal.append("refused", **fields))


def _forget_other_boots(journals: Path, identity: Mapping[str, Any]) -> None:
    """Throw away the unfinished runs that nobody can go on with any more, whatever they measured. The machine is ours: none is being
    written."""
    boot = {"boot_id": identity["boot_id"]}
    for folder in journals.iterdir() if journals.is_dir() else ():
        try:
            alive = begins_with(read(folder / "journal.jsonl"), boot)
        except BenchError:
            alive = False
        if not alive:
            shutil.rmtree(folder, ignore_errors=True)


def _earlier(folder: Path, identity: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the records of an interrupted run that this one may go on with; any other left-over is thrown away."""
    try:
        records = read(folder / "journal.jsonl")
    except BenchError:
        records = []
    if begins_with(records, identity) and not failed_cells(fold(records)):
        return records
    shutil.rmtree(folder, ignore_errors=True)
    return []


def _wait_until_quiet(progress: Progress, *, accept: bool) -> dict[str, Any]:
    """Return the judgement on a machine that is quiet enough; refuse after ``QUIET_PATIENCE`` seconds of being busy.

    With ``accept`` any machine will do: the judgement goes into the result, and is all that is different.
    """
    deadline = time.monotonic() + QUIET_PATIENCE
    while True:
        judgement = noise.survey(seconds=0.6).judgement
        if accept or judgement.verdict != "busy":
            return {"verdict": judgement.verdict, "warnings": list(judgement.warnings)}
        reason = "; ".join(judgement.warnings)
        if time.monotonic() > deadline:
            raise BenchError(
                f"this machine is too busy to measure anything: {reason}",
                hint="stop what is named there and run this again, or add noise=accept: the result then says that it was busy",
            )
        progress(f"waiting for a quiet machine: {reason}")


def _keep_for_a_look(folder: Path, place: Path) -> None:
    """Move what a failed run left to where a person finds it, over that of the run before."""
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    folder.replace(place)
