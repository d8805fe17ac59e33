"""Invents a result of realistic shape, for tests of check and report only.

Nothing here writes a file, and everything that it makes says of itself that it was invented.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bpfbench.stats.compare import compare, per_operation
from bpfbench.stats.stopping import relative_half_width
from bpfbench.stats.summary import summarise

GROUPS = [
    ("hooks", "Hooks"),
    ("memory", "User memory"),
    ("array", "Array map"),
    ("hash", "Hash map"),
    ("percpu-array", "Per-CPU array map"),
    ("percpu-hash", "Per-CPU hash map"),
    ("first", "uprobe by first instruction"),
]

# case, group, divisor, labels, cost in ns of the hook or of one operation: (kernel, embedded)
CASES: list[tuple[str, str, int, list[str], tuple[float, float]]] = [
    ("empty", "hooks", 1, ["empty program"], (830.0, 9.5)),
    ("uprobe", "hooks", 1, [], (858.0, 12.0)),
    ("uretprobe", "hooks", 1, [], (1390.0, 24.0)),
    ("uprobe-uretprobe", "hooks", 1, [], (1460.0, 31.0)),
    ("read", "memory", 1000, [], (20.1, 1.9)),
    ("write", "memory", 1000, [], (21.4, 1.7)),
    ("array-update", "array", 1000, [], (8.7, 4.1)),
    ("array-lookup", "array", 1000, [], (0.42, 2.2)),
    ("array-delete", "array", 1000, ["refused delete"], (0.61, 1.8)),
    ("hash-update", "hash", 1000, [], (48.0, 22.5)),
    ("hash-lookup", "hash", 1000, [], (9.6, 11.1)),
    ("hash-delete-hit", "hash", 1000, ["hit"], (61.0, 30.3)),
    ("hash-delete-miss", "hash", 1000, ["miss"], (17.0, 9.9)),
    ("percpu-array-update", "percpu-array", 1000, [], (9.1, 6.3)),
    ("percpu-array-lookup", "percpu-array", 1000, [], (0.55, 2.9)),
    ("percpu-array-delete", "percpu-array", 1000, ["refused delete"], (0.63, 1.85)),
    ("percpu-hash-update", "percpu-hash", 1000, [], (31.0, 36.1)),
    ("percpu-hash-lookup", "percpu-hash", 1000, [], (9.4, 14.4)),
    ("percpu-hash-delete-hit", "percpu-hash", 1000, ["hit"], (64.0, 41.0)),
    ("percpu-hash-delete-miss", "percpu-hash", 1000, ["miss"], (18.2, 10.7)),
    ("first-push", "first", 1, ["emulated"], (861.0, 12.1)),
    ("first-mov", "first", 1, ["single-stepped"], (1905.0, 12.0)),
    ("first-movslq", "first", 1, ["single-stepped"], (1911.0, 12.1)),
    ("first-nop1", "first", 1, ["emulated"], (842.0, 12.2)),
    ("first-nop5", "first", 1, [], (845.0, 12.0)),
    ("first-endbr64", "first", 1, ["single-stepped"], (1897.0, 12.1)),
]

ARMS = {
    "native": ("native", "none", "#6b7280"),
    "kernel": ("kernel eBPF", "kernel", "#d55e00"),
    "embedded": ("embedded", "userspace", "#0072b2"),
}
NATIVE = 1.52
REFUSED = (
    "program of unknown func bpf_probe_write_user#36 refused: kernel is locked down | `integrity` <mode>"
)
DIED = "the victim died of SIGSEGV in block 4; last line: Segmentation fault"
DESIGN = {
    "seed": 20240611,
    "least_blocks": 9,
    "most_blocks": 40,
    "warmup_blocks": 1,
    "half_width": 0.03,
    "equivalence": 0.03,
    "confidence": 0.95,
    "budget_s": 240,
    "sample_time_s": 0.04,
    "measured_cpus": [1],
}


def _summary(values: np.ndarray, blocks: list[int]) -> dict[str, Any]:
    s = summarise(values)
    return {
        "n": s.n,
        "mean": s.mean,
        "sd": s.sd,
        "median": s.median,
        "mad": s.mad,
        "min": s.minimum,
        "max": s.maximum,
        "p5": s.p5,
        "p95": s.p95,
        "median_ci": [s.median_low, s.median_high],
        "mean_ci": [s.mean_low, s.mean_high],
        "outliers": list(s.outliers),
        "values": [float(value) for value in values],
        "blocks": blocks,
    }


def _comparison(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    c = compare(a, b, direction="lower", equivalence=DESIGN["equivalence"])
    return {
        "n": c.n,
        "ratio": c.ratio,
        "ratio_ci": [c.ratio_low, c.ratio_high],
        "difference": c.difference,
        "difference_ci": [c.difference_low, c.difference_high],
        "verdict": c.verdict,
    }


def _cell(case: str, arm: str, status: str, reason: str | None) -> dict[str, Any]:
    return {
        "case": case,
        "arm": arm,
        "status": status,
        "reason": reason,
        "engine": None,
        "backend": None,
        "proof": None,
        "stopped": None,
        "half_width": None,
        "evidence": {},
        "metrics": {},
    }


def _ok_cell(case: str, arm: str, values: np.ndarray) -> dict[str, Any]:
    summary = _summary(values, list(range(1, len(values) + 1)))
    width = relative_half_width(values)
    calls = 48_000 * len(values)
    more: dict[str, Any] = {
        "stopped": "width" if width <= DESIGN["half_width"] else "budget",
        "half_width": width,
        "evidence": {"first_instruction": "push", "first_bytes": "554889e5"},
        "metrics": {"time": summary},
    }
    if arm != "native":
        more["proof"] = {"kind": "counter", "expected": calls, "observed": calls}
        more["engine"] = "kernel-jit" if arm == "kernel" else "embedded-jit"
        more["backend"] = "kernel-uprobe" if arm == "kernel" else "embedded-trampoline"
    return _cell(case, arm, "ok", None) | more


def _cells(arms: list[str], broken: bool, rng: np.random.Generator) -> list[dict[str, Any]]:
    cells = []
    uprobe = dict(zip(("kernel", "embedded"), CASES[1][4], strict=True))
    for case, _, divisor, _, costs in CASES:
        for arm in arms:
            if broken and (case, arm) == ("write", "kernel"):
                cells.append(_cell(case, arm, "unsupported", REFUSED))
                continue
            if broken and (case, arm) == ("percpu-hash-update", arms[-1]):
                cells.append(_cell(case, arm, "failed", DIED))
                continue
            cost = NATIVE
            if arm != "native":
                own = costs[0] if arm == "kernel" else costs[1]
                cost += own * divisor + (uprobe[arm] if divisor > 1 else 0.0)
            values = cost * (1 + np.abs(rng.normal(0, 0.012, int(rng.integers(9, 16)))))
            cells.append(_ok_cell(case, arm, values))
    return cells


def _values(cell: dict[str, Any] | None) -> np.ndarray | None:
    return np.array(cell["metrics"]["time"]["values"]) if cell and cell["status"] == "ok" else None


def _comparisons(cells: dict[tuple[str, str], Any]) -> list[dict[str, Any]]:
    found = []
    for case, *_ in CASES:
        for arm, against in (("kernel", "native"), ("embedded", "native"), ("embedded", "kernel")):
            a, b = _values(cells.get((case, arm))), _values(cells.get((case, against)))
            if a is not None and b is not None:
                n = min(len(a), len(b))
                pair = {"case": case, "metric": "time", "arm": arm, "against": against}
                found.append(pair | _comparison(a[:n], b[:n]))
    return found


def _operations(cells: dict[tuple[str, str], Any], arms: list[str]) -> list[dict[str, Any]]:
    found = []
    for case, _, divisor, *_ in CASES:
        for arm in arms:
            a, b = _values(cells[case, arm]), _values(cells["uprobe", arm])
            if divisor == 1 or arm == "native" or a is None or b is None:
                continue
            n = min(len(a), len(b))
            e = per_operation(a[:n], b[:n], divisor)
            value, ci = e.value, [e.low, e.high]
            found.append({"case": case, "arm": arm, "value": value, "ci": ci, "unit": "ns"})
    return found


def _arm(name: str, cells: list[dict[str, Any]]) -> dict[str, Any]:
    title, where, colour = ARMS[name]
    failed = [cell["case"] for cell in cells if cell["arm"] == name and cell["status"] == "failed"]
    return {
        "name": name,
        "runtime": name,
        "title": title,
        "where": where,
        "colour": colour,
        "status": "failed" if failed else "ok",
        "reason": f"{len(failed)} case failed: {', '.join(failed)}" if failed else None,
    }


def make(
    arms: tuple[str, ...] = ("native", "kernel", "embedded"), *, broken: bool = True, seed: int = 1
) -> dict[str, Any]:
    """Return an invented result; ``broken``: the kernel refuses ``write``, one case of the last arm fails."""
    rng = np.random.default_rng(seed)
    names = list(arms)
    cells = _cells(names, broken, rng)
    by_id = {(cell["case"], cell["arm"]): cell for cell in cells}
    return {
        "schema": "bpfbench-result/1",
        "experiment": "invented",
        "title": "Invented hooks, user memory and maps",
        "description": "Invented for a test: nothing here was measured.",
        "profile": "quick",
        "partial": None,
        "overrides": {},
        "status": "failed" if any(cell["status"] == "failed" for cell in cells) else "ok",
        "run_key": "0123456789abcdef0123456789abcdef-invented",
        "machine": {
            "name": "invented",
            "fingerprint": "0f" * 32,
            "components": {"cpu": {"model": "Invented CPU @ 2.40GHz", "microcode": "0x1"}, "cores": 2},
        },
        "environment": {
            "os": "Invented Linux 1",
            "kernel": {"release": "6.1.0-invented", "command_line": "quiet mitigations=auto"},
            "cpu": {"model": "Invented CPU @ 2.40GHz", "cores": 2, "governor": None, "turbo": True},
            "tools": {"clang": "14.0.6", "libbpf": "1.1.2"},
            "load": [0.1, 0.2, 0.15],
        },
        "inputs": {
            "uprobe": {"item": "abc-uprobe", "hash": "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
        },
        "design": dict(DESIGN),
        "timing": {
            "started": "2024-06-11T10:00:00Z",
            "finished": "2024-06-11T10:03:20Z",
            "wall_s": 200.0,
            "sampled_s": 150.5,
            "boot_id": "00000000-0000-0000-0000-000000000000",
            "resumed": 1,
            "blocks": 15,
        },
        "noise": {"verdict": "noisy", "steal": 0.012, "load": 0.4, "calm": 0.625, "warnings": ["steal time of 1.2 %"]},
        "baseline": names[0],
        "metrics": [
            {
                "name": "time",
                "title": "time per call",
                "unit": "ns",
                "per": "call",
                "direction": "lower",
                "primary": True,
            }
        ],
        "groups": [{"name": name, "title": title} for name, title in GROUPS],
        "cases": [
            {
                "name": case,
                "title": case,
                "group": group,
                "divisor": divisor,
                "floor": "uprobe" if divisor > 1 else None,
                "labels": labels,
                "params": {},
            }
            for case, group, divisor, labels, _ in CASES
        ],
        "arms": [_arm(name, cells) for name in names],
        "cells": cells,
        "comparisons": _comparisons(by_id),
        "operations": _operations(by_id, names),
    }
