"""What a run prints: live lines on a terminal, plain lines in a pipe, failures in full, nothing for what is up to date."""

from __future__ import annotations

import time
from typing import Any, TextIO

from doit.exceptions import BaseFail
from doit.reporter import ConsoleReporter
from doit.task import Task

from bpfbench import context
from bpfbench.commands.live import Live
from bpfbench.commands.text import duration


class BenchReporter(ConsoleReporter):
    """doit reporter: one line when a task starts or ends, and on a terminal one live line a running task."""

    desc = "live progress, one line a finished task"

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self._live = Live(outstream, context.current().layout.progress)
        self._started: dict[str, float] = {}
        self.executed = 0

    def execute_task(self, task: Task) -> None:
        """Say that a task starts."""
        if not task.actions:
            return
        self._started[task.name] = time.monotonic()
        self._live.start()
        if not self._live.terminal:
            self._live.say(f"▶ {task.name}: {task.doc}")

    def add_success(self, task: Task) -> None:
        """Say that a task is done."""
        if task.name in self._started:
            self.executed += 1
            self._live.say(f"✔ {task.name}  {self._took(task)}")

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Say why a task failed, at once and in full."""
        self.failures.append({"task": task, "exception": fail})
        self._live.say(f"✘ {task.name}  {self._took(task)}\n{_indent(_message(fail))}")

    def skip_uptodate(self, task: Task) -> None:
        """Say nothing: a second run that does nothing is quiet."""

    def skip_ignore(self, task: Task) -> None:
        """Say that the user told doit to ignore a task."""
        self._live.say(f"– {task.name} is ignored (doit ignore); `doit forget {task.name}` takes it up again")

    def complete_run(self) -> None:
        """End the live display."""
        self._live.stop()
        for message in self.runtime_errors:
            self.write(f"{message}\n")

    def _took(self, task: Task) -> str:
        started = self._started.get(task.name)
        return "" if started is None else duration(time.monotonic() - started)


def _message(fail: BaseFail) -> str:
    """Return what a person needs: our own errors as they are, unexpected ones with their traceback."""
    if fail.get_name() == "TaskFailed":
        return str(fail.message)
    return str(fail.get_msg()).strip()


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
