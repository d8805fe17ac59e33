"""What the end of a run tells of a result: arms with their status and reasons.

A thousand results are megabytes that a run with nothing to do would read for a few words each, so the words are remembered for as long
as the file looks the same. The memory is a cache.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bpfbench.commands.text import one_line
from bpfbench.errors import BenchError
from bpfbench.glance import SETTLED, stamps_of
from bpfbench.resultfile import read_result
from bpfbench.store.files import write_cache

FORMAT = 1


class ArmTold(NamedTuple):
    """One arm of a result."""

    name: str
    status: str
    good: int
    """How many of its ``cases`` are ok."""
    cases: int
    reasons: tuple[tuple[str, str, tuple[str, ...]], ...]
    """(status, reason, cases) of those that are not."""


class Told(NamedTuple):
    """One result."""

    experiment: str
    failed: bool
    arms: tuple[ArmTold, ...]


def told_of(paths: Iterable[Path], cache: Path) -> tuple[list[Told], list[BenchError]]:
    """Return what there is to tell of the results in these files, as far as they exist, and what cannot be read."""
    known, fresh = _load(cache), False
    results, problems = [], []
    for path in paths:
        begun = time.time_ns()
        name, stamps = str(path), stamps_of((str(path),))
        if stamps is not None and name in known and known[name][0] == stamps[0]:
            results.append(_made(known[name][1]))
            continue
        try:
            result = read_result(path)
        except BenchError as error:
            problems.append(error)
            continue
        if result is not None:
            results.append(summary(result))
            if stamps is not None and stamps[1] < begun - SETTLED:
                known[name], fresh = [stamps[0], results[-1]], True
    if fresh:
        write_cache(cache, json.dumps({"format": FORMAT, "known": known}, separators=(",", ":")).encode())
    return results, problems


def summary(result: Mapping[str, Any]) -> Told:
    """Return what there is to tell of a result."""
    arms = tuple(_arm(arm, [cell for cell in result["cells"] if cell["arm"] == arm["name"]]) for arm in result["arms"])
    return Told(result["experiment"], result["status"] == "failed", arms)


def _arm(arm: Mapping[str, Any], cells: list[Mapping[str, Any]]) -> ArmTold:
    found: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell["status"] != "ok":
            reason = one_line(cell["reason"] or "no reason is known")
            found.setdefault((cell["status"], reason), []).append(cell["case"])
    good = sum(cell["status"] == "ok" for cell in cells)
    reasons = tuple((status, reason, tuple(cases)) for (status, reason), cases in found.items())
    return ArmTold(arm["name"], arm["status"], good, len(cells), reasons)


def _made(row: list[Any]) -> Told:
    experiment, failed, arms = row
    return Told(experiment, failed, tuple(_arm_made(*arm) for arm in arms))


def _arm_made(name: str, status: str, good: int, cases: int, reasons: list[Any]) -> ArmTold:
    return ArmTold(name, status, good, cases, tuple((status, reason, tuple(of)) for status, reason, of in reasons))


def _load(cache: Path) -> dict[str, list[Any]]:
    try:
        data = json.loads(cache.read_bytes())
        known: dict[str, list[Any]] = data["known"] if data["format"] == FORMAT else {}
        for _, row in known.values():
            _made(row)
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}
    return known
