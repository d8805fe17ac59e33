"""From a folded journal to result JSON (schemas/result.json): summaries, comparisons and costs of single operations.

A pure function of what was measured and of what the specs call it; run again whenever statistics or titles change, without
measuring anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import fmean
from typing import Any

import numpy as np

from bpfbench.measure import noise
from bpfbench.measure.fold import CellState, State
from bpfbench.measure.loop import primary
from bpfbench.measure.request import Request
from bpfbench.model.types import Arm, Case
from bpfbench.stats.compare import compare, per_operation
from bpfbench.stats.stopping import relative_half_width
from bpfbench.stats.summary import summarise

SCHEMA = "bpfbench-result/1"


def result_of(request: Request, run_key: str, state: State) -> dict[str, Any]:
    """Return the result JSON of a run."""
    experiment, begin = request.experiment, state.begin
    cells = [_cell(request, case, arm, state) for case in request.chosen_cases for arm in request.chosen_arms]
    return {
        "schema": SCHEMA,
        "experiment": experiment.name,
        "title": experiment.title,
        "description": experiment.description,
        "profile": request.profile.name,
        "partial": _partial(request),
        "overrides": dict(request.overrides),
        "status": "failed" if any(cell["status"] == "failed" for cell in cells) else "ok",
        "run_key": run_key,
        "machine": {
            "name": request.machine.name, "fingerprint": request.machine.digest, "components": dict(request.machine.components),
        },
        "environment": begin["environment"],
        "inputs": begin["inputs"],
        "design": _design(request, state),
        "timing": _timing(state),
        "noise": _noise(state),
        "baseline": experiment.baseline,
        "metrics": [
            {name: getattr(metric, name) for name in ("name", "title", "unit", "per", "direction", "primary")}
            for metric in experiment.metrics
        ],
        "groups": [{"name": group.name, "title": group.title} for group in experiment.groups],
        "cases": [_case(case) for case in request.chosen_cases],
        "arms": [_arm(request, arm, cells) for arm in request.chosen_arms],
        "cells": cells,
        "comparisons": list(_comparisons(request, state)),
        "operations": list(_operations(request, state)),
    }


def _partial(request: Request) -> dict[str, Any] | None:
    if not request.partial:
        return None
    return {"arms": [arm.name for arm in request.chosen_arms], "cases": [case.name for case in request.chosen_cases]}


def _design(request: Request, state: State) -> dict[str, Any]:
    profile = request.profile
    return {
        "seed": state.begin["seed"], "least_blocks": profile.least_blocks, "most_blocks": profile.most_blocks,
        "warmup_blocks": profile.warmup_blocks, "half_width": profile.half_width, "equivalence": profile.equivalence,
        "confidence": 0.95, "budget_s": request.seconds, "sample_time_s": profile.sample_time,
        "measured_cpus": state.begin["environment"]["placement"]["measured_cpus"],
    }


def _timing(state: State) -> dict[str, Any]:
    started = state.begin["started"]
    finished = state.end["wall_clock"] if state.end else started
    return {
        "started": _iso(started), "finished": _iso(finished), "wall_s": round(finished - started, 3),
        "sampled_s": round(state.sampled, 3), "boot_id": state.begin["boot_id"], "resumed": state.resumed, "blocks": state.blocks,
    }


def _noise(state: State) -> dict[str, Any]:
    """Return what the machine did besides, over all samples together: single ones are too short to judge."""
    total = sum((noise.Noise.from_json(record) for record in state.noise if record), noise.Noise())
    judgement, before = noise.judge(total), state.begin["environment"]["before"]
    warnings = [*before["warnings"], *judgement.warnings]
    worst = max((judgement.verdict, before["verdict"]), key=("quiet", "noisy", "busy").index)
    return {
        "verdict": worst, "steal": total.steal or 0.0, "load": total.load1 or 0.0, "calm": _calm(state),
        "warnings": list(dict.fromkeys(warnings)),
    }


def _calm(state: State) -> float | None:
    """Return how much of the rounds had the core to themselves, over all samples that know; None if none does."""
    known = [record["calm"] for record in state.noise if record.get("calm") is not None]
    return round(fmean(known), 4) if known else None


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _case(case: Case) -> dict[str, Any]:
    return {
        "name": case.name, "title": case.title, "group": case.group, "divisor": case.divisor, "floor": case.floor,
        "labels": list(case.labels), "params": dict(case.params),
    }


def _arm(request: Request, arm: Arm, cells: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an arm with the status of its cells taken together: failed > ok > unsupported."""
    runtime = request.runtime(arm)
    mine = [cell for cell in cells if cell["arm"] == arm.name]
    status = next(s for s in ("failed", "ok", "unsupported", "skipped") if any(cell["status"] == s for cell in mine))
    reasons = {cell["reason"]: None for cell in mine if cell["status"] == status and cell["reason"]}
    return {
        "name": arm.name, "runtime": runtime.name, "title": arm.title, "where": runtime.where, "colour": runtime.colour,
        "status": status, "reason": "; ".join(reasons) or None,
    }


def _measured(request: Request, case: Case, arm: Arm, state: State) -> CellState | None:
    """Return the cell's state if it may be shown as a number, else None."""
    cell = state.cell(case.name, arm.name)
    return cell if cell.status == "open" and cell.values else None


def _cell(request: Request, case: Case, arm: Arm, state: State) -> dict[str, Any]:
    cell = state.cell(case.name, arm.name)
    measured = _measured(request, case, arm, state)
    main = primary(request.experiment.metrics).name
    proof = {"kind": cell.proof_kind, "expected": cell.expected, "observed": cell.observed} if cell.proof_kind else None
    status = "ok" if measured else cell.status
    return {
        "case": case.name, "arm": arm.name, "status": "failed" if status == "open" else status,
        "reason": "no sample was taken" if status == "open" else cell.reason,
        "engine": cell.engine, "backend": cell.backend, "proof": proof,
        "stopped": cell.stopped if measured else None,
        "half_width": _finite(relative_half_width(np.array(cell.values[main]))) if measured else None,
        "evidence": cell.evidence,
        "metrics": {m.name: _summary(cell, m.name) for m in request.experiment.metrics if m.name in cell.values} if measured else {},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _summary(cell: CellState, metric: str) -> dict[str, Any]:
    s = summarise(np.array(cell.values[metric]))
    return {
        "n": s.n, "mean": s.mean, "sd": s.sd, "median": s.median, "mad": s.mad, "min": s.minimum, "max": s.maximum,
        "p5": s.p5, "p95": s.p95, "median_ci": [s.median_low, s.median_high], "mean_ci": [s.mean_low, s.mean_high],
        "outliers": list(s.outliers), "values": cell.values[metric], "blocks": cell.blocks,
    }


def _pairs(request: Request) -> Iterator[tuple[Arm, Arm]]:
    """Yield (arm, against): each arm against the baseline, and each userspace arm against each kernel arm."""
    arms = request.chosen_arms
    where = {arm.name: request.runtime(arm).where for arm in arms}
    for arm in arms:
        for against in arms:
            to_baseline = against.name == request.experiment.baseline and arm.name != against.name
            to_kernel = where[arm.name] == "userspace" and where[against.name] == "kernel"
            if to_baseline or to_kernel:
                yield arm, against


def _comparisons(request: Request, state: State) -> Iterator[dict[str, Any]]:
    metric = primary(request.experiment.metrics)
    for case in request.chosen_cases:
        for arm, against in _pairs(request):
            one, other = _measured(request, case, arm, state), _measured(request, case, against, state)
            if one is None or other is None:
                continue
            a, b = _paired(one, other, metric.name)
            c = compare(a, b, direction=metric.direction, equivalence=request.profile.equivalence)
            yield {
                "case": case.name, "metric": metric.name, "arm": arm.name, "against": against.name, "n": c.n,
                "ratio": c.ratio, "ratio_ci": [c.ratio_low, c.ratio_high],
                "difference": c.difference, "difference_ci": [c.difference_low, c.difference_high], "verdict": c.verdict,
            }


def _operations(request: Request, state: State) -> Iterator[dict[str, Any]]:
    metric = primary(request.experiment.metrics)
    by_name = {case.name: case for case in request.chosen_cases}
    for case in request.chosen_cases:
        if case.floor not in by_name:
            continue
        for arm in request.chosen_arms:
            whole, floor = _measured(request, case, arm, state), _measured(request, by_name[case.floor], arm, state)
            if whole is None or floor is None or request.runtime(arm).where == "none":
                continue
            a, b = _paired(whole, floor, metric.name)
            e = per_operation(a, b, case.divisor)
            yield {"case": case.name, "arm": arm.name, "value": e.value, "ci": [e.low, e.high], "unit": metric.unit}


def _paired(one: CellState, other: CellState, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of the blocks that both cells have, in the same order."""
    mine, theirs = dict(zip(one.blocks, one.values[metric], strict=True)), dict(zip(other.blocks, other.values[metric], strict=True))
    common = sorted(mine.keys() & theirs.keys())
    return np.array([mine[block] for block in common]), np.array([theirs[block] for block in common])
