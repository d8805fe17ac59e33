"""The task file: hands the model to the creators in tasks/. All logic lives in bpfbench/."""

import gc
import os
import signal
from pathlib import Path

from doit.exceptions import InvalidDodoFile

from bpfbench import context
from bpfbench.commands.output import guard_output
from bpfbench.commands.words import command_line_words
from bpfbench.errors import BenchError
from tasks.build import task_builds
from tasks.check import task_checks
from tasks.compare import task_compares
from tasks.fetch import task_fetches
from tasks.figure import task_figures
from tasks.report import task_report
from tasks.run import task_runs
from tasks.system import task_system

__all__ = [
    "DOIT_CONFIG", "task_builds", "task_checks", "task_compares", "task_fetches", "task_figures", "task_report", "task_runs",
    "task_system",
]  # fmt: skip

DOIT_CONFIG = {
    "default_tasks": ["report"],
    "backend": "bench",
    "dep_file": ".doit.db",
    "reporter": "bench",
    "verbosity": 0,
}

# Specs and tasks live as long as this process: looking through thousands of them for garbage finds none.
gc.set_threshold(100_000)
# `doit list | head` ends like any other program of the system; `run` takes this back.
signal.signal(signal.SIGPIPE, signal.SIG_DFL)

guard_output()

try:
    context.create(Path(__file__).parent, command_line_words(), Path(os.environ.get("BENCH_CWD", os.curdir)))
except BenchError as error:
    raise InvalidDodoFile(str(error)) from None
