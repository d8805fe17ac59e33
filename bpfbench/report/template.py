"""How report.html looks: its style sheet and its frame. Everything that comes from a result is escaped."""

from __future__ import annotations

STYLE = """\
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1f2933; --faint: #616e7c; --line: #dfe3e8; --wash: #f5f7fa;
  --ok: #1b7f4b; --failed: #b42318; --unsupported: #946200; --skipped: #616e7c; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14181d; --ink: #e4e7eb; --faint: #9aa5b1; --line: #323f4b; --wash: #1d232a;
  --ok: #57c98a; --failed: #ff8a7a; --unsupported: #e9b949; --skipped: #9aa5b1; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 5rem; max-width: 62rem; background: var(--paper);
  color: var(--ink);
  font: 16px/1.55 "Charter", "Bitstream Charter", "Source Serif 4", Georgia, serif; }
h1, h2, h3, th, caption, nav, .badge, figcaption { font-family: system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.35rem; margin: 3.5rem 0 .4rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 44rem; }
a { color: inherit; }
nav ul { list-style: none; padding: 0; }
.faint, caption, figcaption, .notes { color: var(--faint); }
.badge { display: inline-block; font-size: .75rem; font-weight: 600; padding: .05rem .5rem; border: 1px solid;
  border-radius: 1rem; vertical-align: .1em; }
.ok { color: var(--ok); } .failed { color: var(--failed); }
.unsupported { color: var(--unsupported); } .skipped { color: var(--skipped); }
ul.arms { list-style: none; padding: 0; } ul.arms > li { margin: .35rem 0; }
.swatch { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .45em; }
ul.reasons { margin: .1rem 0 .3rem; font-size: .9rem; overflow-wrap: anywhere; }
figure { margin: 1rem 0; } figure svg { width: 100%; height: auto; max-width: 60rem; }
figcaption, caption { font-size: .8rem; line-height: 1.4; text-align: left; }
caption { padding-bottom: .4rem; } caption b { color: var(--ink); }
.scroll { overflow-x: auto; margin: 1.2rem 0 .3rem; }
table { border-collapse: collapse; font: .82rem/1.35 system-ui, "Segoe UI", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; border-bottom: 1px solid var(--ink); }
thead th { border-top: 1px solid var(--ink); border-bottom: 1px solid var(--ink); vertical-align: bottom; }
th, td { padding: .18rem .8rem .18rem 0; text-align: left; vertical-align: top; }
th.number, td.number, td.nothing, td.status { text-align: right; padding: .18rem 0 .18rem .8rem; }
th.number + th.text, td.number + td.text { padding-left: 1.2rem; }
td.number { white-space: nowrap; }
td.status { font-style: italic; color: var(--unsupported); } td.nothing { color: var(--faint); }
tr.group th { padding-top: .7rem; font-weight: 600; color: var(--faint); }
tbody tr:not(.group):hover { background: var(--wash); }
table.facts { border: 0; } table.facts td { overflow-wrap: anywhere; } table.facts th { font-weight: 400;
  color: var(--faint); white-space: nowrap; }
ol.notes { font-size: .8rem; margin: .2rem 0 1rem; padding-left: 1.4rem; overflow-wrap: anywhere; }
details { margin: .8rem 0; } summary { cursor: pointer; font: 600 .9rem system-ui, sans-serif; }
pre { background: var(--wash); padding: .6rem .8rem; overflow-x: auto; font-size: .82rem; }
code { font-size: .88em; overflow-wrap: anywhere; }
@media print { details > * { display: block; } body { max-width: none; padding: 0; } }
"""

PAGE = """\
{% macro facts_table(rows) -%}
<table class="facts">{% for name, value in rows %}<tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
{% endfor %}</table>
{%- endmacro -%}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
{{ style }}</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
{% if not sections %}<p>No result yet. <code>./bench</code> measures.</p>
{% else %}<nav aria-label="Experiments"><ul>
{% for section in sections %}<li><a href="#{{ section.id }}">{{ section.title }}</a>
<span class="badge {{ section.status }}">{{ section.status }}</span></li>
{% endfor %}</ul></nav>
{% endif %}</header>
<main>
{% for section in sections %}<section id="{{ section.id }}">
<h2>{{ section.title }}</h2>
<p>{{ section.description }}</p>
{% for warning in section.warnings %}<p class="unsupported"><strong>{{ warning }}</strong></p>
{% endfor %}<h3>Arms</h3>
<ul class="arms">
{% for arm in section.arms %}<li><span class="swatch" style="background: {{ arm.colour }}"></span>
<strong>{{ arm.title }}</strong> <span class="badge {{ arm.status }}">{{ arm.status }}</span>
<span class="faint">{{ arm.told }}</span>
{% if arm.reasons %}<ul class="reasons">
{% for reason, cases in arm.reasons %}<li>{{ cases }}: {{ reason }}</li>
{% endfor %}</ul>{% endif %}</li>
{% endfor %}</ul>
{% for figure in section.figures %}<figure>{{ figure.svg }}
<figcaption>{{ figure.title }}. {{ section.caption }}</figcaption></figure>
{% endfor %}{% if section.verdicts %}<h3>What the comparisons say</h3>
<ul>{% for line in section.verdicts %}<li>{{ line }}</li>
{% endfor %}</ul>
{% endif %}{% for table in section.tables %}{{ table }}{% endfor %}
{% for table in section.folded %}<details><summary>{{ table.title }}</summary>{{ table.html }}</details>
{% endfor %}<h3>Sampling and noise</h3>
<ul>{% for line in section.sampling %}<li>{{ line }}</li>
{% endfor %}</ul>
<h3>Identity</h3>
{{ facts_table(section.provenance) }}
<details><summary>Inputs</summary>{{ facts_table(section.inputs) }}</details>
<details><summary>Environment</summary>{{ facts_table(section.environment) }}</details>
<details><summary>Parts of the machine fingerprint</summary>{{ facts_table(section.machine) }}</details>
<h3>To measure this again</h3>
<pre>{{ section.command }}</pre>
</section>
{% endfor %}</main>
</body>
</html>
"""
