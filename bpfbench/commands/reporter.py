"""What a run prints: live lines on a terminal, plain lines in a pipe, failures in full, nothing for what is up to date."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, ClassVar, TextIO

from doit.exceptions import BaseFail
from doit.reporter import ConsoleReporter
from doit.task import Task

from bpfbench import context
from bpfbench.commands.live import Live
from bpfbench.commands.text import counted, duration


class BenchReporter(ConsoleReporter):  # type: ignore[misc]
    """doit reporter: one line when a task starts or ends, and on a terminal one live line a running task."""

    desc = "live progress, one line a finished task"
    latest: ClassVar[BenchReporter | None] = None
    """The reporter of this process's run: doit makes it, and `run` asks it afterwards."""

    def __init__(self, outstream: TextIO, options: dict[str, Any]) -> None:
        super().__init__(outstream, options)
        self._expected: dict[str, float] = {}
        self._live = Live(outstream, context.current().layout.progress, self._expected)
        self._started: dict[str, float] = {}
        self._standing = 0
        self.settled: set[str] = set()
        """Tasks that are done or were up to date."""
        BenchReporter.latest = self

    def execute_task(self, task: Task) -> None:
        """Say that a task starts."""
        context.current().moved()
        if not task.actions:
            return
        self._started[task.name] = time.monotonic()
        self._expect(task)
        self._live.start()
        if not self._live.terminal:
            self._live.say(f"▶ {task.name}: {task.doc}")

    def add_success(self, task: Task) -> None:
        """Say that a task is done."""
        self.settled.add(task.name)
        context.current().moved()
        if task.name in self._started:
            self._live.say(f"✔ {task.name}  {self._took(task)}")

    def add_failure(self, task: Task, fail: BaseFail) -> None:
        """Say why a task failed, at once and in full."""
        context.current().moved()
        self.failures.append({"task": task, "exception": fail})
        if fail.get_name() == "UnmetDependency":  # its message names what failed before it
            self._live.say(f"– {task.name}  not run: {fail.message} failed")
        else:
            self._live.say(f"✘ {task.name}  {self._took(task)}\n{_indent(_message(fail))}")

    def skip_uptodate(self, task: Task) -> None:
        """Say nothing: a second run that does nothing is quiet."""
        self.settled.add(task.name)
        self._standing += not task.has_subtask  # its actions would be made to be counted

    def skip_ignore(self, task: Task) -> None:
        """Say that the user told doit to ignore a task."""
        self._live.say(f"– {task.name}  ignored; `./bench forget {task.name}` takes it up again")

    def cleanup_error(self, exception: BaseFail) -> None:
        """Say that tidying up after a task failed."""
        self._live.say(str(exception.get_msg()).strip())

    def complete_run(self) -> None:
        """End the live display; where nothing had to be done, say so."""
        self._live.stop()
        for message in self.runtime_errors:
            self._live.say(str(message))
        if self._standing and not (self._started or self.failures or self.runtime_errors):
            self._live.say(f"nothing to do: {counted(self._standing, 'task')} up to date")

    def _expect(self, task: Task) -> None:
        """Look up how long the task took the last time; a display that does not know is no reason to fail."""
        from bpfbench.commands.durations import expected

        make = (task.meta or {}).get("step")
        if make is not None and self._live.terminal:
            with suppress(Exception):
                foreseen = expected(make())
                if foreseen.seconds is not None and not foreseen.bound:
                    self._expected[task.name] = foreseen.seconds

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
