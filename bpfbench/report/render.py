"""Writes tables and words as Markdown or as HTML, so that nothing in a result can act as markup."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from bpfbench.report.tables import Entry, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~-])")
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")

TABLE = """\
<div class="scroll"><table id="{{ prefix }}{{ table.name }}">
<caption><b>{{ table.title }}.</b> {{ table.caption }}</caption>
<thead><tr>
{%- for column in table.columns -%}
<th scope="col" class="{{ 'text' if loop.index0 in table.labels else 'number' }}">{{ column }}</th>
{%- endfor -%}
</tr></thead>
{% for group, rows in table.rows | groupby_run %}<tbody>
{% if group -%}
<tr class="group"><th scope="colgroup" colspan="{{ table.columns | length }}">{{ group }}</th></tr>
{% endif %}{% for row in rows %}<tr>{% for entry in row.entries -%}
<td class="{{ entry.kind }}"{% if entry.span > 1 %} colspan="{{ entry.span }}"{% endif %}>{{ entry.text }}
{%- if entry.note %}<sup>{{ entry.note }}</sup>{% endif %}</td>
{%- endfor %}</tr>
{% endfor %}</tbody>
{% endfor %}</table></div>
{% if table.notes %}<ol class="notes">{% for note in table.notes %}<li>{{ note }}</li>{% endfor %}</ol>
{% endif %}"""


def md(text: str) -> str:
    """Return ``text`` in one line in which Markdown and HTML see nothing but text."""
    line = " ".join(text.split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(_escape, line)


def _escape(found: re.Match[str]) -> str:
    letter = found.group(1)
    if letter == "|":
        return "&#124;"  # a backslash does not hold in every reader's tables
    if letter in "-+()!#{}~" and not _could_be_markup(found):
        return letter
    return "\\" + letter


def _could_be_markup(found: re.Match[str]) -> bool:
    """Tell whether a letter that only means something at the start of a line, or doubled, stands there."""
    letter, text, at = found.group(1), found.string, found.start()
    doubled = letter == "~" and (text[at - 1 : at] == "~" or text[at + 1 : at + 2] == "~")
    return (
        doubled
        or at == 0
        or (letter == "(" and text[at - 1] == "]")
        or (letter == "!" and text[at + 1 :][:1] == "[")
    )


def markdown(table: Table) -> str:
    """Return a table in GitHub's Markdown, with its title, caption and footnotes."""
    heads = [md(column) for column in table.columns]
    rule = [":--" if index in table.labels else "--:" for index in range(len(heads))]
    lines = [f"**{md(table.title)}.** {md(table.caption)}", "", _line(heads), _line(rule)]
    group = ""
    for row in table.rows:
        if row.group != group:
            group = row.group
            lines.append(_line([f"**{md(group)}**", *[""] * (len(heads) - 1)]))
        fields: list[str] = []
        for entry in row.entries:
            fields += [_entry(entry), *[""] * (entry.span - 1)]
        lines.append(_line(fields))
    if table.notes:
        lines += ["", *(f"{superscript(number)} {md(note)}  " for number, note in enumerate(table.notes, 1))]
    return "\n".join(lines) + "\n"


def _line(fields: list[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _entry(entry: Entry) -> str:
    text = md(entry.text)
    if entry.kind == "status":
        text = f"*{text}*"
    return text + (superscript(entry.note) if entry.note else "")


def superscript(number: int) -> str:
    """Return ¹² for 12."""
    return str(number).translate(_SUPERSCRIPT)


def groupby_run(rows: Any) -> list[tuple[str, list[Any]]]:
    """Return runs of rows of the same group, in order."""
    runs: list[tuple[str, list[Any]]] = []
    for row in rows:
        if not runs or runs[-1][0] != row.group:
            runs.append((row.group, []))
        runs[-1][1].append(row)
    return runs


@cache
def environment() -> Any:
    """Return the Jinja environment of all HTML: everything is escaped, an unknown name is an error."""
    import jinja2

    made = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    made.filters["groupby_run"] = groupby_run
    return made


def html(table: Table, prefix: str = "") -> str:
    """Return a table in HTML. ``prefix`` stands before its name in its id."""
    return str(environment().from_string(TABLE).render(table=table, prefix=prefix))
