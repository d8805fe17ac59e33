"""``doit results [EXPERIMENT…] [--json]``: what was measured here, at any time, without running anything."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

from bpfbench import context
from bpfbench.commands.closing import FAILED, shown_results
from bpfbench.commands.names import nearest
from bpfbench.commands.reading import ReadingCommand
from bpfbench.commands.text import shortest, takes_colour
from bpfbench.errors import BenchError


class Results(ReadingCommand):
    """Show results as a table, or as JSON for programs."""

    name = "results"
    doc_purpose = "show what was measured, as a table or as JSON"
    doc_usage = "[EXPERIMENT ...]"
    cmd_options = (
        {
            "name": "as_json", "short": "", "long": "json", "type": bool, "default": False,
            "help": "a JSON list of objects, one a case, arm and metric",
        },
    )  # fmt: skip

    def execute(self, params: Any, args: list[str]) -> int:
        """Take the positional arguments as experiments, not as tasks."""
        self._names = args
        return super().execute(params, [])

    def _execute(self, as_json: bool) -> int:
        here = self.load()
        results, problems = shown_results(here, _wanted(here, self._names))
        shown = []
        for result in results:
            try:
                shown.append(_json(result) if as_json else _table(result))
            except (LookupError, TypeError, AttributeError, ValueError):
                place = here.results / f"{result.get('experiment')}.json"
                problems.append(BenchError(f"{place}: this result does not hold", hint="./bench verifies and mends it"))
        if as_json:
            json.dump([row for rows in shown for row in rows], sys.stdout, indent=1, ensure_ascii=False)
            sys.stdout.write("\n")
        elif shown:
            sys.stdout.write("\n".join(str(table) for table in shown))
        for problem in problems:
            sys.stderr.write(f"ERROR: {problem}\n")
        if not shown and not problems:
            where = shortest(here.results, here.cwd)
            sys.stderr.write(f"nothing measured here yet, in {where}\n  → run: ./bench\n")
        return FAILED if problems else 0


def _json(result: dict[str, Any]) -> list[dict[str, Any]]:
    from bpfbench.report.rows import rows

    return rows(result)


def _table(result: dict[str, Any]) -> str:
    from bpfbench.report.rows import terminal_table

    width = shutil.get_terminal_size((100, 24)).columns
    return terminal_table([result], width, takes_colour(sys.stdout))


def _wanted(here: context.Context, names: list[str]) -> list[str]:
    """Return the experiments asked for, in the model's order. Raises ``BenchError`` for a name that is none."""
    known = list(here.model.experiments)
    for name in names:
        if name not in known:
            raise BenchError(f"no experiment is called {name!r}{nearest(name, known)}", hint=f"one of: {', '.join(known)}")
    return [name for name in known if name in names or not names]
