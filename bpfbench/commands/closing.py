"""The end of a run: every arm with its status and reason, where the report is, and the exit status."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from bpfbench.commands.text import counted, one_line, shortest
from bpfbench.context import Context
from bpfbench.errors import BenchError

FAILED = 1
COMPARES = "compare_"
"""How the names of tasks begin that compare two builds of a package."""
SCHEMA = "bpfbench-result/1"


def close(context: Context, settled: Collection[str], out: TextIO) -> bool:
    """Print how the measurements of this call ended, and return whether all is well.

    ``settled`` names the tasks that are done or were up to date: nothing is said of what this call did not
    look at. An arm that *failed* makes the call fail; one that is merely *unsupported* here does not.
    """
    names = [experiment.name for experiment in context.chosen if f"run_{experiment.name}" in settled]
    results, problems = shown_results(context, names)
    out.write("".join(f"{line}\n" for line in arm_table(results)))
    compared, more = _comparisons(context, settled, out)
    results, problems = [*results, *compared], [*problems, *more]
    out.write("".join(f"{problem}\n" for problem in problems))
    report = context.results / "report.html"
    if "report" in settled and report.exists():
        out.write(f"report: {shortest(report, context.cwd)}\n")
    return not problems and all(result["status"] != "failed" for result in results)


def _comparisons(context: Context, settled: Collection[str], out: TextIO) -> tuple[list[dict[str, Any]], list[BenchError]]:
    """Print every comparison of builds that this call made; return their results, and what cannot be read."""
    results, problems = shown_results(context, sorted(name for name in settled if name.startswith(COMPARES)))
    if results:
        from bpfbench.comparing import told

        for result in results:
            out.write("".join(f"{line}\n" for line in [*arm_table([result]), *told(result, result["experiment"].removeprefix(COMPARES))]))
    return results, problems


def shown_results(context: Context, names: Iterable[str]) -> tuple[list[dict[str, Any]], list[BenchError]]:
    """Return the results of these experiments that this call's words point at, and what cannot be read."""
    results, problems = [], []
    for name in names:
        try:
            result = read_result(context.results / f"{name}.json")
        except BenchError as error:
            problems.append(error)
        else:
            results += [result] if result else []
    return results, problems


def read_result(path: Path) -> dict[str, Any] | None:
    """Return the result in a file, None if there is no file. Raises ``BenchError`` when it is no result."""
    again = f"delete it and run: ./bench run_{path.stem}"
    try:
        result = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: not a readable result: {error}", hint=again) from None
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise BenchError(f"{path}: not a result in the format {SCHEMA}", hint=again)
    return result


def arm_table(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return one line an arm, aligned, and below it why cases are not ok."""
    rows = [(result, arm) for result in results for arm in result["arms"]]
    first = max((len(result["experiment"]) for result, _ in rows), default=0)
    second = max((len(arm["name"]) for _, arm in rows), default=0)
    lines = []
    for result, arm in rows:
        cells = [cell for cell in result["cells"] if cell["arm"] == arm["name"]]
        good = sum(cell["status"] == "ok" for cell in cells)
        told = f"{good} of {counted(len(cells), 'case')}"
        lines.append(f"{result['experiment']:<{first}}  {arm['name']:<{second}}  {arm['status']:<11}  {told}")
        lines += [f"  {reason}" for reason in _reasons(cells)]
    return lines


def _reasons(cells: Collection[Mapping[str, Any]]) -> Iterator[str]:
    """Yield why cells are not ok: cases with the same reason share a line, for all of them none is named."""
    found: dict[tuple[str, str], list[str]] = {}
    for cell in cells:
        if cell["status"] != "ok":
            found.setdefault((cell["status"], cell["reason"] or "no reason is known"), []).append(cell["case"])
    for (status, reason), cases in found.items():
        which = "all cases" if len(cases) == len(cells) > 1 else ", ".join(cases)
        yield f"{status}: {which}: {one_line(reason)}"
