"""The steps behind check, figure and report: pure functions of result JSON, kept in the store like everything else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.resultfile import the_result
from bpfbench.steps import Step, View
from bpfbench.store.keys import Key, make_key

if TYPE_CHECKING:
    from bpfbench.context import Context
    from bpfbench.progress import Progress


def result_path(context: Context, experiment: str) -> Path:
    """Return where the result of an experiment is shown."""
    return context.results / f"{experiment}.json"


def check_step(context: Context, experiment: str) -> Step:
    """Return the step that holds a result against its schema and its meaning."""
    path, schema = result_path(context, experiment), context.layout.schemas / "result.json"

    def key() -> Key | None:
        seen = _digests([path, schema])
        if seen is None:
            return None
        code = context.codes.of(["check", "resultview.py"])
        return make_key(f"check-{experiment}", {"seen": seen, "code": code, "pins": _pins(context)})

    def make(tree: Path, progress: Progress) -> None:
        from bpfbench.check.check import check_result

        progress("checking")
        problems = check_result(the_result(path), context.layout.schemas)
        if problems:
            lines = "\n".join(f"  {problem.path}: {problem.message}" for problem in problems)
            raise BenchError(f"{path}: this result does not hold:\n{lines}", hint=f"delete it and run: ./bench run_{experiment}")
        (tree / "verdict.json").write_text('{"problems": 0}\n')

    return Step(f"check_{experiment}", context.layout, key, make, inputs=lambda: (path,))


def figure_step(context: Context, experiment: str) -> Step:
    """Return the step that draws a result."""
    path, formats = result_path(context, experiment), context.profile.figure_formats

    def key() -> Key | None:
        seen = _digests([path])
        if seen is None:
            return None
        components = {
            "seen": seen,
            "formats": list(formats),
            "code": context.codes.of(["report", "resultview.py"]),
            "pins": _pins(context),
        }
        return make_key(f"figure-{experiment}", components)

    def make(tree: Path, progress: Progress) -> None:
        from bpfbench.report.figures import draw

        progress("drawing")
        # Read when matplotlib is imported; it would make a home that is not there, and fill one that is.
        os.environ["MPLCONFIGDIR"] = str(context.layout.drawing)
        for name, content in draw(the_result(path), formats).items():
            (tree / name).write_bytes(content)

    return Step(f"figure_{experiment}", context.layout, key, make, View(context.results / "figures"), inputs=lambda: (path,))


def report_step(context: Context, experiments: Iterable[str]) -> Step:
    """Return the step that writes the report of all results that this call's experiments have."""
    names = list(experiments)

    def there() -> list[str]:
        return [name for name in names if result_path(context, name).exists()]

    def key() -> Key | None:
        seen = {name: _digests([result_path(context, name), *_figures(context, name)]) for name in there()}
        code = context.codes.of(["report", "resultview.py"])
        published = _digests(_published(context))
        return make_key("report", {"seen": seen, "published": published, "code": code, "pins": _pins(context)})

    def make(tree: Path, progress: Progress) -> None:
        from bpfbench.model.published import load_published
        from bpfbench.report.page import report_html, report_markdown

        progress("writing")
        published = load_published(context.layout)
        results = [the_result(result_path(context, name)) for name in there()]
        drawn = {result["experiment"]: _drawn(context, result) for result in results}
        (tree / "report.md").write_text(report_markdown(results, published=published))
        (tree / "report.html").write_text(report_html(results, drawn, published))

    def inputs() -> Iterator[Path]:
        yield from (context.results, context.results / "figures")
        yield from _published(context)
        for name in names:
            yield from (result_path(context, name), *_figures(context, name))

    return Step("report", context.layout, key, make, View(context.results), inputs=inputs)


def _published(context: Context) -> list[Path]:
    """Return the files in which numbers of others stand."""
    return sorted((context.layout.root / "specs" / "published").glob("*.yaml"))


def _figures(context: Context, experiment: str) -> list[Path]:
    """Return the drawings of an experiment that the report shows."""
    return sorted((context.results / "figures").glob(f"{experiment}*.svg"))


def _drawn(context: Context, result: dict[str, Any]) -> list[Any]:
    """Return the figures of a result with the bytes that the figure step drew."""
    from dataclasses import replace

    from bpfbench.report.figures import drawings

    folder = context.results / "figures"
    return [replace(figure, files={"svg": (folder / f"{figure.name}.svg").read_bytes()}) for figure in drawings(result, ())]


def _digests(paths: Iterable[Path]) -> dict[str, str] | None:
    """Return file name → SHA-256 of its bytes; None while one is missing."""
    try:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    except FileNotFoundError:
        return None


def _pins(context: Context) -> str:
    """Return the digest of the libraries' pins: another matplotlib draws other bytes."""
    return hashlib.sha256((context.layout.root / "requirements" / "run.txt").read_bytes()).hexdigest()
