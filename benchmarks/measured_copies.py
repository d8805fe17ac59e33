"""Puts a checkout with many copies of ``uprobe`` into the state in which all of them are measured and drawn.

    PYTHONPATH=. python benchmarks/measured_copies.py [doit words]       (in that checkout)

``uprobe`` itself must be measured and drawn with the same words. What is realised for a copy is what is there for ``uprobe``, under the
copy's own keys and names, and put in place by the product's own steps. For benchmarks/startup.py.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench import context as contexts
from bpfbench import deriving
from bpfbench.measuring import MeasureStep, dump
from bpfbench.progress import Progress
from bpfbench.steps import Step
from bpfbench.store.store import Item, Store
from tasks.run import _step

MODEL = "uprobe"


def main(words: Mapping[str, str]) -> None:
    """Realise everything of every copy, and the report."""
    context = contexts.create(Path.cwd(), words, Path.cwd())
    progress = Progress(context.layout.progress, "copies")
    step = functools.partial(_step, context)
    samples = step(MODEL).last()
    assert samples, f"{MODEL} must be measured first"
    names = [experiment.name for experiment in context.chosen if experiment.name != MODEL]
    for name in names:
        _measured(context, step(name), samples, progress)
        _made(deriving.check_step(context, name), lambda tree: (tree / "verdict.json").write_text("{}\n"), progress)
        drawn = list((context.results / "figures").glob(f"{MODEL}*"))
        _made(deriving.figure_step(context, name), functools.partial(_drawn, name, drawn), progress)
    report = deriving.report_step(context, [MODEL, *names])
    _made(report, lambda tree: [(tree / f"report.{kind}").write_text("many\n") for kind in ("md", "html")], progress)


def _measured(context: contexts.Context, step: MeasureStep, samples: Item, progress: Progress) -> None:
    key = step.key()
    assert key, "what is executed must be built"
    item = Store(context.layout.store).realise(key, lambda tree: _copied(samples.tree, tree))
    step._samples().point(item)
    result = json.loads((context.results / f"{MODEL}.json").read_bytes())
    own = dump({**result, "experiment": step.subject, "run_key": key.id})
    _made(step._result(item), lambda tree: (tree / f"{step.subject}.json").write_bytes(own), progress)


def _made(step: Step, make: Any, progress: Progress) -> None:
    def quietly(tree: Path, progress: Progress) -> None:
        make(tree)

    dataclasses.replace(step, make=quietly).run(progress)


def _copied(there: Path, tree: Path) -> None:
    shutil.copytree(there, tree, dirs_exist_ok=True)


def _drawn(name: str, drawn: list[Path], tree: Path) -> None:
    for path in drawn:
        shutil.copy(path, tree / path.name.replace(MODEL, name, 1))


if __name__ == "__main__":
    main(dict(word.split("=", 1) for word in sys.argv[1:]))
