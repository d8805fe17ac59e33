"""The end of a run: every arm with its status and reason, where the report is, and the exit status."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any, TextIO

from bpfbench.commands.text import counted, shortest, without_middle
from bpfbench.commands.told import ArmTold, Told, summary, told_of
from bpfbench.context import Context
from bpfbench.errors import BenchError
from bpfbench.resultfile import read_result

FAILED = 1
COMPARES = "compare_"
"""How the names of tasks begin that compare two builds of a package."""
_LONGEST = 300
"""Letters of a reason: the last words of a program that died can be many; all of them are in the result."""


def close(context: Context, settled: Collection[str], out: TextIO) -> bool:
    """Print how the measurements of this call ended, and return whether all is well.

    ``settled`` names the tasks that are done or were up to date: nothing is said of what this call did not
    look at. An arm that *failed* makes the call fail; one that is merely *unsupported* here does not.
    """
    names = [experiment.name for experiment in context.chosen if f"run_{experiment.name}" in settled]
    results, problems = told_of([context.results / f"{name}.json" for name in names], context.layout.state / "told.json")
    out.write("".join(f"{line}\n" for line in arm_table(results)))
    compared, more = _comparisons(context, settled, out)
    problems += more
    out.write("".join(f"{problem}\n" for problem in problems))
    report = context.results / "report.html"
    if "report" in settled and report.exists():
        out.write(f"report: {shortest(report, context.cwd)}\n")
    failed = [result.failed for result in results] + [result["status"] == "failed" for result in compared]
    return not problems and not any(failed)


def _comparisons(context: Context, settled: Collection[str], out: TextIO) -> tuple[list[dict[str, Any]], list[BenchError]]:
    """Print every comparison of builds that this call made; return their results, and what cannot be read."""
    results, problems = shown_results(context, sorted(name for name in settled if name.startswith(COMPARES)))
    if results:
        from bpfbench.comparing import told

        for result in results:
            lines = [*arm_table([summary(result)]), *told(result, result["experiment"].removeprefix(COMPARES))]
            out.write("".join(f"{line}\n" for line in lines))
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


def arm_table(results: Iterable[Told]) -> list[str]:
    """Return one line an arm, aligned, and below it why cases are not ok."""
    rows = [(result.experiment, arm) for result in results for arm in result.arms]
    first = max((len(experiment) for experiment, _ in rows), default=0)
    second = max((len(arm.name) for _, arm in rows), default=0)
    lines = []
    for experiment, arm in rows:
        told = f"{arm.good} of {counted(arm.cases, 'case')}"
        lines.append(f"{experiment:<{first}}  {arm.name:<{second}}  {arm.status:<11}  {told}")
        lines += [f"  {without_middle(reason, _LONGEST)}" for reason in _reasons(arm)]
    return lines


def _reasons(arm: ArmTold) -> Iterator[str]:
    """Yield why cases are not ok: those with the same reason share a line, and where it is all of them none is named."""
    for status, reason, cases in arm.reasons:
        which = "all cases" if len(cases) == arm.cases > 1 else ", ".join(cases)
        yield f"{status}: {which}: {reason}"
