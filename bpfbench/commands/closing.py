"""The end of a run: every arm with its status and reason, where the report is, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from bpfbench.context import Context

FAILED = 1


def close(context: Context, status: int, out: TextIO) -> int:
    """Print the closing summary and return the exit status of the whole: a failed arm makes it non-zero.

    What is merely *unsupported* on this machine does not.
    """
    results = list(shown_results(context))
    lines = [line for result in results for line in arm_lines(result)]
    report = context.results / "report.html"
    if lines:
        out.write("\n".join(lines) + "\n")
    if report.exists():
        out.write(f"report: {report}\n")
    failed = any(result["status"] == "failed" for result in results)
    return status or (FAILED if failed else 0)


def shown_results(context: Context) -> Iterator[dict[str, Any]]:
    """Yield the results that this call's words point at, in the model's order; unreadable ones are left to the check."""
    for experiment in context.chosen():
        try:
            yield json.loads((context.results / f"{experiment.name}.json").read_bytes())
        except (OSError, ValueError):
            continue


def arm_lines(result: dict[str, Any]) -> Iterator[str]:
    """Yield one line an arm: how many of its cases hold, and the reasons of those that do not."""
    for arm in result["arms"]:
        cells = [cell for cell in result["cells"] if cell["arm"] == arm["name"]]
        good = sum(cell["status"] == "ok" for cell in cells)
        yield f"{result['experiment']:<14} {arm['name']:<16} {good} of {len(cells)} ok"
        for cell in cells:
            if cell["status"] != "ok":
                yield f"{'':<14} {'':<16} {cell['case']}: {cell['status']}: {cell['reason']}"
