"""Figures of a result: every case on every arm, as dots with intervals. The same data give the same bytes."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bpfbench.report.numbers import decimals_for, decimals_of, error_of, fixed, percent, scaled, unit_phrase
from bpfbench.report.rows import clean
from bpfbench.resultview import Part, View

INK, FAINT, GRID, PAPER = "#1f2933", "#7b8794", "#dfe3e8", "#ffffff"
"""The figure's own colours; ``page`` turns them into variables, so that inlined figures follow the page."""

MARKERS = "osD^vPX*"
"""One a arm, so that an arm is known without its colour."""

WIDTH = 7.2
PITCH, GAP, HEAD = 0.128, 0.085, 0.30
"""Inches: an arm's line, the space between cases, a group's heading."""

TITLE_LETTERS = 26
TITLE_LINE, LABEL_LINE, LETTER = 0.108, 0.09, 0.054
"""Inches: a line of a case's title, of its labels, and the width of a letter of the title."""

TOP, BOTTOM, BETWEEN, MARGIN = 0.02, 0.42, 0.28, 0.04
LOG_FROM = 20.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A figure: ``files`` maps a format (``svg``) to its bytes; ``alt`` says in words what it shows."""

    name: str
    title: str
    alt: str
    files: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class _Mark:
    """What an arm shows for a case: a value with its interval, or a word instead."""

    arm: str
    value: float
    low: float
    high: float
    word: str = ""


def _height(case: Part, marks: Sequence[_Mark]) -> float:
    text = TITLE_LINE * len(_title_lines(case)) + (LABEL_LINE if case["labels"] else 0.0)
    return max(len(marks) * PITCH, text) + GAP


def _title_lines(case: Part) -> list[str]:
    return textwrap.wrap(clean(case["title"]), TITLE_LETTERS) or [""]


@dataclass(frozen=True, slots=True)
class _Panel:
    """The cases of one group: (case, its marks from top to bottom)."""

    title: str
    cases: tuple[tuple[Part, tuple[_Mark, ...]], ...]

    @property
    def height(self) -> float:
        return HEAD + sum(_height(case, marks) for case, marks in self.cases)


@dataclass(frozen=True, slots=True)
class _Column:
    """Panels that share an axis."""

    label: str
    factor: float
    panels: tuple[_Panel, ...]

    @property
    def marks(self) -> list[_Mark]:
        return [mark for panel in self.panels for _, marks in panel.cases for mark in marks]

    @property
    def height(self) -> float:
        return sum(panel.height for panel in self.panels)


def draw(result: Part, formats: Sequence[str]) -> dict[str, bytes]:
    """Return file name → bytes of every figure of a result in ``formats`` (svg, png, pdf)."""
    return {
        f"{drawing.name}.{name}": content
        for drawing in drawings(result, formats)
        for name, content in drawing.files.items()
    }


def drawings(result: Part, formats: Sequence[str]) -> list[Drawing]:
    """Return the figures of a result with what is said about them; without ``formats`` nothing is drawn."""
    view = View(result)
    if view.counts:  # a dot for what is simply so would say less than its number
        return []
    kinds = [kind for kind in ("whole", "operation") if view.cases_of(inner=kind == "operation")]
    columns = [column for kind in [*kinds, *_relative(view, kinds)] if (column := _column(view, kind)) is not None]
    if not columns:
        return []
    title = f"{clean(result['title'])}: {' and '.join(column.label for column in columns)}"
    files = _files(view, columns, formats) if formats else {}
    return [Drawing(str(result["experiment"]), title, _alt(view, columns), files)]


def _files(view: View, columns: Sequence[_Column], formats: Sequence[str]) -> dict[str, bytes]:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a user's own settings must not change a figure
        matplotlib.rcParams.update(_settings(view.result["experiment"]))  # type: ignore[arg-type]
        figure = _figure(view, columns)
        return {name: _bytes(figure, name) for name in formats}


def _settings(salt: str) -> dict[str, Any]:
    return {
        "font.family": "DejaVu Sans",
        "font.size": 7.0,
        "text.color": INK,
        "text.parse_math": False,
        "svg.hashsalt": salt,
        "svg.fonttype": "path",
        "pdf.fonttype": 42,
        "hatch.linewidth": 0.6,
        "path.simplify": False,
    }


def _bytes(figure: Any, name: str) -> bytes:
    """Return the figure in one format, without dates, versions or anything else that is not in the data."""
    metadata: dict[str, dict[str, None]] = {
        "svg": dict.fromkeys(("Date", "Creator", "Format", "Type")),
        "png": {"Software": None},
        "pdf": dict.fromkeys(("Creator", "Producer", "CreationDate")),
    }
    buffer = io.BytesIO()
    figure.savefig(buffer, format=name, metadata=metadata.get(name), dpi=200, facecolor=PAPER)
    return buffer.getvalue()


def _relative(view: View, kinds: Sequence[str]) -> list[str]:
    """Return what else is drawn of cases that are stated as a whole: what a call costs more than a bare one, or how many times the
    baseline's time an execution takes. Where operations are drawn, they say it already.
    """
    bare = view.arms.get(view.result["baseline"])
    if view.primary is None or "operation" in kinds or not view.comparisons or bare is None or bare["where"] != "none":
        return []
    return {"call": ["added"], "execution": ["ratio"]}.get(view.primary["per"] or "", [])


def _column(view: View, kind: str) -> _Column | None:
    """Collect by group the cases that are stated per operation, or the others: ``whole``, or relative to the baseline."""
    inner = kind == "operation"
    metric, cases = view.primary, view.cases_of(inner=inner)
    arms = [arm for arm in view.arms_of(inner=inner) if kind in ("whole", "operation") or arm != view.result["baseline"]]
    if metric is None or not cases or not arms:
        return None
    panels = []
    for group in view.groups.values():
        names = [name for name in cases if view.cases[name]["group"] == group["name"]]
        lines = tuple((view.cases[name], tuple(_mark(view, name, arm, kind) for arm in arms)) for name in names)
        if lines:
            panels.append(_Panel(clean(group["title"]), lines))
    if kind == "ratio":
        return _Column(f"time ÷ {clean(view.arms[view.result['baseline']]['title'])}", 1.0, tuple(panels))
    values = [
        abs(mark.value) for panel in panels for _, marks in panel.cases for mark in marks if not mark.word
    ]
    factor, unit = scaled(min(values, default=0.0), metric["unit"])
    if factor > 1:  # a smaller unit than the metric's would only make the numbers longer
        factor, unit = 1.0, metric["unit"]
    label = unit_phrase(unit, "operation" if inner else metric["per"])
    return _Column(f"added, {label}" if kind == "added" else label, factor, tuple(panels))


def _mark(view: View, case: str, arm: str, kind: str) -> _Mark:
    cell = view.cells[case, arm]
    if cell["status"] != "ok":
        return _Mark(arm, 0, 0, 0, cell["status"])
    if kind == "operation":
        item = view.operations.get((case, arm))
        return _Mark(arm, item["value"], *item["ci"]) if item else _Mark(arm, 0, 0, 0, "no floor")
    name = view.primary["name"] if view.primary else ""
    if kind != "whole":
        return _relative_mark(view.comparisons.get((case, name, arm, view.result["baseline"])), arm, kind)
    summary = view.summary(case, arm, name)
    return (
        _Mark(arm, summary["median"], *summary["median_ci"]) if summary else _Mark(arm, 0, 0, 0, "no value")
    )


def _relative_mark(item: Part | None, arm: str, kind: str) -> _Mark:
    field = "difference" if kind == "added" else "ratio"
    if item is None or item[field] is None:
        return _Mark(arm, 0, 0, 0, "not compared")
    return _Mark(arm, item[field], *item[f"{field}_ci"])


def _alt(view: View, columns: Sequence[_Column]) -> str:
    measured = sum(not mark.word for column in columns for mark in column.marks)
    words = [mark.word for column in columns for mark in column.marks if mark.word]
    arms = ", ".join(clean(arm["title"]) for arm in view.arms.values())
    missing = "".join(f" {words.count(word)} marked {word}." for word in sorted(set(words)))
    return f"Dot plot with intervals, arms: {arms}. {measured} values.{missing}"


def _figure(view: View, columns: Sequence[_Column]) -> Any:
    from matplotlib.figure import Figure

    height = TOP + max(column.height for column in columns) + BOTTOM
    figure = Figure(figsize=(WIDTH, height))
    space = (WIDTH - MARGIN - BETWEEN * (len(columns) - 1)) / len(columns)
    for index, column in enumerate(columns):
        _draw_column(figure, view, column, MARGIN + index * (space + BETWEEN), space, height)
    return figure


def _draw_column(figure: Any, view: View, column: _Column, left: float, width: float, height: float) -> None:
    lines = [line for panel in column.panels for case, _ in panel.cases for line in _title_lines(case)]
    room = min(0.45 * width, 0.16 + LETTER * max(len(line) for line in lines))
    limits, log = _limits(column)
    y = height - TOP
    arms = list(view.arms)
    for index, panel in enumerate(column.panels):
        bottom, inner_height = y - panel.height, panel.height - HEAD
        box = ((left + room) / WIDTH, bottom / height, (width - room - 0.06) / WIDTH, inner_height / height)
        axes = figure.add_axes(box)
        axes.set_xscale("log" if log else "linear")
        axes.set_xlim(*limits)
        axes.set_ylim(inner_height, 0)
        last = index == len(column.panels) - 1
        _style(axes, last)
        figure.text(
            left / WIDTH, (y - 0.62 * HEAD) / height, panel.title, weight="bold", size=7.5, va="center"
        )
        _draw_panel(axes, view, column, panel, arms, room, name_arms=index == 0)
        if last:
            axes.set_xlabel(_axis_label(view, column, log), size=7, color=INK, labelpad=2, loc="right")
        y = bottom


def _axis_label(view: View, column: _Column, log: bool) -> str:
    better = f", {view.primary['direction']} is better" if view.primary else ""
    return f"{column.label}{', log scale' if log else ''}{better}"


def _limits(column: _Column) -> tuple[tuple[float, float], bool]:
    """Return the ends of a column's axis, and whether it is logarithmic."""
    marks = [mark for mark in column.marks if not mark.word]
    highs = [mark.high * column.factor for mark in marks if mark.high > 0]
    # An interval that nearly reaches zero must not stretch a logarithmic axis: its bar is cut off instead.
    lows = [max(mark.low, mark.value / 4) * column.factor for mark in marks if mark.value > 0]
    if not highs or not lows:
        return (0.0, 1.0), False
    if max(highs) / min(lows) >= LOG_FROM:
        return (min(lows) / 1.7, max(highs) * 1.5), True
    below = min((mark.low * column.factor for mark in marks), default=0.0)
    return (min(0.0, below * 1.1), max(highs) * 1.08), False


def _style(axes: Any, last: bool) -> None:
    from matplotlib.ticker import FuncFormatter, NullLocator

    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT if last else GRID)
    axes.spines["bottom"].set_linewidth(0.6)
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.yaxis.set_major_locator(NullLocator())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.tick_params(axis="x", length=2 if last else 0, color=FAINT, labelcolor=INK, labelsize=6.5, pad=2)
    axes.tick_params(axis="x", labelbottom=last)


def _tick(value: float, _: int) -> str:
    decimals = len(f"{value:.6g}".partition(".")[2]) if abs(value) < 1e5 else 0
    return fixed(value, decimals)


def _draw_panel(
    axes: Any, view: View, column: _Column, panel: _Panel, arms: list[str], room: float, *, name_arms: bool
) -> None:
    top = 0.0
    for row, (case, marks) in enumerate(panel.cases):
        middle = top + _height(case, marks) / 2
        _draw_label(axes, case, middle)
        for line, mark in enumerate(marks):
            arm = view.arms[mark.arm]
            shape = MARKERS[arms.index(mark.arm) % len(MARKERS)]
            name = clean(arm["title"]) if name_arms and row == 0 else ""
            y = middle + (line + 0.5 - len(marks) / 2) * PITCH
            _draw_mark(axes, mark, column.factor, y, arm["colour"], shape, name)
        top += _height(case, marks)
        if row < len(panel.cases) - 1:
            axes.axhline(top, color=GRID, linewidth=0.4, zorder=0)


def _draw_label(axes: Any, case: Part, middle: float) -> None:
    """Write the case left of the axis, and what must be known of it in small letters below."""
    titles = _title_lines(case)
    labels = clean(", ".join(case["labels"]))
    y = middle - (TITLE_LINE * len(titles) + (LABEL_LINE if labels else 0.0)) / 2
    place = {
        "xycoords": axes.get_yaxis_transform(),
        "textcoords": "offset points",
        "ha": "right",
        "va": "center",
    }
    for line in titles:
        axes.annotate(line, (0, y + TITLE_LINE / 2), xytext=(-7, 0), size=7, **place)
        y += TITLE_LINE
    if labels:
        axes.annotate(labels, (0, y + LABEL_LINE / 2), xytext=(-7, 0), size=5.5, color=FAINT, **place)


def _draw_mark(axes: Any, mark: _Mark, factor: float, y: float, colour: str, shape: str, name: str) -> None:
    if mark.word:
        _draw_word(axes, mark.word, y, colour, name)
        return
    left = axes.get_xlim()[0]
    value, low, high = mark.value * factor, mark.low * factor, mark.high * factor
    outside = value < left  # on a logarithmic axis: at or below zero
    at = left if outside else value
    if high > left:
        ends = [max(low, left), high]
        axes.plot(ends, [y, y], color=colour, linewidth=1.5, solid_capstyle="butt", zorder=2)
    dot = {"marker": "<" if outside else shape, "markersize": 3.6, "markeredgewidth": 0, "linestyle": "none"}
    axes.plot([at], [y], color=colour, zorder=3, clip_on=False, **dot)
    number = fixed(value, _decimals(value, error_of(value, (low, high))))
    across = axes.transAxes.inverted().transform(axes.transData.transform((at, y)))[0]
    where = (max(low, left), "right", -4.5) if across > 0.58 else (max(high, at), "left", 4.5)
    _write(axes, axes.transData, where, y, f"{name}  {number}" if name else number, colour, name)


def _write(
    axes: Any, transform: Any, where: tuple[float, str, float], y: float, text: str, colour: str, name: str
) -> None:
    """Write beside a dot or a box; ``where``: x, alignment, points to the right. A name makes it bold."""
    x, side, offset = where
    style = {"size": 6, "color": colour, "weight": "bold" if name else "normal"}
    place = {"xycoords": transform, "textcoords": "offset points", "ha": side, "va": "center_baseline"}
    axes.annotate(text, (x, y), xytext=(offset, -0.2), **place, **style)


def _decimals(value: float, error: float) -> int:
    """Return the decimals of a number beside its dot: as many as its interval carries, at most three."""
    most = max(decimals_of(value), 0)
    return min(decimals_for(error), most) if error > 0 and math.isfinite(error) else most


def _draw_word(axes: Any, word: str, y: float, colour: str, name: str) -> None:
    """Mark an arm that has no value: a hatched box at the axis, and the word."""
    from matplotlib.patches import Rectangle

    transform = axes.get_yaxis_transform()
    height, width = PITCH * 0.62, 0.055
    look: dict[str, Any] = {"facecolor": "none", "edgecolor": colour, "hatch": "//////", "linewidth": 0.6}
    box = Rectangle((0.0, y - height / 2), width, height, transform=transform, clip_on=False, **look)
    axes.add_patch(box)
    _write(axes, transform, (width, "left", 3.0), y, f"{name}  {word}" if name else word, colour, name)


def caption(result: Part) -> str:
    """Return what must be known to read the figure."""
    design = result["design"]
    return (
        f"Dots are medians, bars their {percent(design['confidence'])} intervals, "
        "often narrower than the dot. A hatched box marks an arm without a value."
    )
