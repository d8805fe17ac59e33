"""``doit results [EXPERIMENT…] [--json]``: what was measured here, at any time, without running anything."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

from doit.cmd_base import DoitCmdBase

from bpfbench import context
from bpfbench.commands.closing import shown_results
from bpfbench.errors import BenchError
from bpfbench.report.rows import rows, terminal_table


class Results(DoitCmdBase):  # type: ignore[misc]
    """Show results as a table, or as JSON for programs."""

    name = "results"
    doc_purpose = "show what was measured, as a table or as JSON"
    doc_usage = "[EXPERIMENT ...]"
    cmd_options = (
        {"name": "as_json", "short": "", "long": "json", "type": bool, "default": False, "help": "a JSON list of objects"},
    )

    def _execute(self, as_json: bool) -> int:
        here = context.current()
        try:
            found = _wanted(here, self.args_names)
        except BenchError as error:
            sys.stderr.write(f"ERROR: {error}\n")
            return 3
        if as_json:
            json.dump([row for result in found for row in rows(result)], sys.stdout, indent=1, ensure_ascii=False)
            sys.stdout.write("\n")
        elif found:
            width = shutil.get_terminal_size((100, 24)).columns
            sys.stdout.write(terminal_table(found, width, sys.stdout.isatty()))
        else:
            sys.stdout.write(f"nothing measured here yet in {here.results}\n  → run: ./bench\n")
        return 0

    @property
    def args_names(self) -> list[str]:
        """The experiments named on the command line."""
        return list(self._names)

    def execute(self, params: Any, args: list[str]) -> int:
        """Take the positional arguments as experiments, not as tasks."""
        self._names = args
        return int(super().execute(params, []))


def _wanted(here: context.Context, names: list[str]) -> list[dict[str, Any]]:
    known = list(here.model.experiments)
    for name in names:
        if name not in known:
            raise BenchError(f"no experiment is called {name!r}", hint=f"one of: {', '.join(known)}")
    return [result for result in shown_results(here) if not names or result["experiment"] in names]
