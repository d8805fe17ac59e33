"""The report of all results: report.md and one self-contained report.html. Pure functions of the results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bpfbench.model.types import Published
from bpfbench.report import facts, render
from bpfbench.report.figures import FAINT, GRID, INK, PAPER, Drawing, caption, drawings
from bpfbench.report.numbers import percent
from bpfbench.report.published import published_table
from bpfbench.report.tables import Table, tables
from bpfbench.report.template import PAGE, STYLE
from bpfbench.resultview import Part

TITLE = "Evaluation of userspace eBPF"
FOLDED = ("comparisons", "detail-", "published")
"""Beginnings of the names of tables that are folded away in HTML: long ones."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A figure of the Markdown report: ``path`` relative to the report, ``alt`` what it shows in words."""

    path: str
    alt: str


def report_markdown(
    results: Sequence[Part], assets: Mapping[str, Sequence[Asset]] | None = None, published: Sequence[Published] = ()
) -> str:
    """Return report.md. ``assets``: each experiment's figures; by default ``figures/<experiment>.svg``. ``published``: what others
    measured.
    """
    parts = [f"# {TITLE}\n"]
    if not results:
        parts.append("No result yet. `./bench` measures.\n")
    for result in results:
        given = assets.get(result["experiment"], ()) if assets is not None else _default_assets(result)
        parts += _markdown_section(result, given, published)
    return "\n".join(parts)


def _default_assets(result: Part) -> list[Asset]:
    return [Asset(f"figures/{figure.name}.svg", figure.alt) for figure in drawings(result, ())]


def _markdown_section(result: Part, assets: Sequence[Asset], published: Sequence[Published]) -> list[str]:
    md = render.md
    parts = [f"## {md(result['title'])}\n", md(result["description"]) + "\n"]
    parts += [f"**{md(warning)}**\n" for warning in _warnings(result)]
    parts += ["### Arms\n", _markdown_arms(result)]
    parts += [f"![{md(asset.alt)}]({_link(asset.path)})\n\n{md(caption(result))}\n" for asset in assets]
    said = facts.verdicts(result)
    if said:
        parts += ["### What the comparisons say\n", _list(said)]
    parts += ["### Tables\n", *(render.markdown(table) for table in _all_tables(result, published))]
    parts += ["### Sampling and noise\n", _list([*facts.sampling(result), *facts.noise(result)])]
    parts += ["### Identity\n", _pairs(facts.provenance(result))]
    for title, rows in _folded_facts(result):
        parts += [f"### {title}\n", _pairs(rows)]
    return [*parts, "### To measure this again\n", _code(facts.command(result))]


def _markdown_arms(result: Part) -> str:
    lines = []
    for arm in facts.arm_facts(result):
        lines.append(f"- **{render.md(arm.title)}**: {arm.status} ({render.md(arm.told)})")
        lines += [f"  - {render.md(cases)}: {render.md(reason)}" for reason, cases in arm.reasons]
    return "\n".join(lines) + "\n"


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {render.md(line)}" for line in lines) + "\n"


def _pairs(rows: Sequence[tuple[str, str]]) -> str:
    body = "".join(f"| {render.md(name)} | {render.md(value)} |\n" for name, value in rows)
    return f"|  |  |\n| :-- | :-- |\n{body}"


def _code(text: str) -> str:
    """Return a code block whose fence is longer than any in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}\n"


def _link(path: str) -> str:
    return "<" + path.replace("<", "%3C").replace(">", "%3E").replace("\n", "%0A") + ">"


def _folded_facts(result: Part) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        ("Inputs", _inputs(result)),
        ("Environment", list(facts.flat(result["environment"]))),
        ("Parts of the machine fingerprint", list(facts.flat(result["machine"]["components"]))),
    ]


def _inputs(result: Part) -> list[tuple[str, str]]:
    return [(name, f"{each['item']} ({each['hash']})") for name, each in sorted(result["inputs"].items())]


def _warnings(result: Part) -> list[str]:
    """Return what a reader must know before looking at a number."""
    found = []
    if result["status"] != "ok":
        found.append("Something failed; what failed is marked and stands in no comparison.")
    if result["partial"]:
        found.append("Only a selection of arms or cases was measured.")
    if result["overrides"]:
        found.append(f"Measured with local stand-ins for {', '.join(sorted(result['overrides']))}.")
    bare = facts.unverified_arms(result)
    if bare:
        found.append(f"Programs ran that no verifier has accepted, on {' and '.join(bare)}.")
    found += [f"Numbers are to be doubted: {doubt}" for doubt in facts.doubts(result)]
    if result["noise"]["verdict"] != "quiet":
        steal = percent(result["noise"]["steal"])
        found.append(f"The machine was {result['noise']['verdict']} (steal {steal}).")
    return found


def report_html(
    results: Sequence[Part], figures: Mapping[str, Sequence[Drawing]] | None = None, published: Sequence[Published] = ()
) -> str:
    """Return report.html, which needs no other file. ``figures`` saves drawing them again (as svg)."""
    sections = [
        _section(
            result,
            index,
            drawings(result, ["svg"]) if figures is None else figures.get(result["experiment"], ()),
            published,
        )
        for index, result in enumerate(results, 1)
    ]
    environment = render.environment()
    return str(environment.from_string(PAGE).render(title=TITLE, style=_safe(STYLE), sections=sections))


def _section(result: Part, number: int, figures: Sequence[Drawing], published: Sequence[Published]) -> dict[str, Any]:
    prefix = f"e{number}-"
    made = [(table, _safe(render.html(table, prefix))) for table in _all_tables(result, published)]
    inputs, environment, machine = (rows for _, rows in _folded_facts(result))
    return {
        "id": f"e{number}",
        "title": result["title"],
        "status": result["status"],
        "description": result["description"],
        "warnings": _warnings(result),
        "arms": facts.arm_facts(result),
        "figures": [
            {"title": figure.title, "svg": _safe(inline(figure, f"{prefix}f{index}-"))}
            for index, figure in enumerate(figures)
        ],
        "caption": caption(result),
        "verdicts": facts.verdicts(result),
        "tables": [html for table, html in made if not _is_folded(table)],
        "folded": [{"title": table.title, "html": html} for table, html in made if _is_folded(table)],
        "sampling": [*facts.sampling(result), *facts.noise(result)],
        "provenance": facts.provenance(result),
        "inputs": inputs,
        "environment": environment,
        "machine": machine,
        "command": facts.command(result),
    }


def _all_tables(result: Part, published: Sequence[Published]) -> list[Table]:
    reference = published_table(result, published)
    return [*tables(result), *([reference] if reference else [])]


def _is_folded(table: Table) -> bool:
    return table.name.startswith(FOLDED)


def _safe(text: str) -> Any:
    """Mark text that we made ourselves as markup, so that it is not escaped again."""
    from markupsafe import Markup

    return Markup(text)


def inline(figure: Drawing, prefix: str) -> str:
    """Return a figure's SVG to stand in a page: no prologue, ids of its own, colours that follow the page."""
    from html import escape

    text = figure.files["svg"].decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", text)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}\1"', text)
    text = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}\1)", text)
    for colour, variable in ((INK, "ink"), (FAINT, "faint"), (GRID, "line"), (PAPER, "paper")):
        text = re.sub(rf"(fill|stroke): {colour}\b", rf"\1: var(--{variable})", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(figure.alt, quote=True)}"', 1)
