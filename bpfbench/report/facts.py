"""What a page says of a result in words, each sentence made from the data. ``page`` puts it into place."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bpfbench.report.numbers import counted, duration, percent, significant
from bpfbench.report.rows import reasons, unverified
from bpfbench.resultview import Part, View

STATUSES = ("ok", "failed", "unsupported", "skipped")
VERDICTS = ("better", "worse", "same", "inconclusive")


@dataclass(frozen=True, slots=True)
class ArmFacts:
    """An arm: its status, how many cases are ok and so on, and (reason, titles of the cases it holds for).

    Reasons are why cases are not ok, and why programs ran that no verifier has accepted.
    """

    title: str
    colour: str
    status: str
    told: str
    reasons: tuple[tuple[str, str], ...]


def arm_facts(result: Part) -> list[ArmFacts]:
    """Return what became of each arm."""
    view = View(result)
    found = []
    for name, arm in view.arms.items():
        cells = [view.cells[case, name] for case in view.cases]
        counts = Counter(cell["status"] for cell in cells)
        told = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        bare = {f"programs ran unverified: {reason}": cases for reason, cases in unverified(cells).items()}
        why = [
            (
                reason,
                "all cases" if len(cases) == len(cells) else ", ".join(_title(view, case) for case in cases),
            )
            for reason, cases in (reasons(cells) | bare).items()
        ]
        text = f"{told} of {counted(len(cells), 'case')}"
        found.append(ArmFacts(arm["title"], arm["colour"], arm["status"], text, tuple(why)))
    return found


def unverified_arms(result: Part) -> list[str]:
    """Return the titles of the arms on which programs ran that no verifier has accepted."""
    view = View(result)
    return [
        str(arm["title"]) for name, arm in view.arms.items() if unverified(view.cells[case, name] for case in view.cases)
    ]


def _title(view: View, case: str) -> str:
    return str(view.cases[case]["title"])


def verdicts(result: Part) -> list[str]:
    """Return one sentence per pair of arms: how many cases are better, worse, the same or undecided."""
    view = View(result)
    if view.primary is None:
        return []
    pairs: dict[tuple[str, str], list[Part]] = {}
    for item in result["comparisons"]:
        if item["metric"] == view.primary["name"]:
            pairs.setdefault((item["arm"], item["against"]), []).append(item)
    return [_verdict(view, arm, against, items) for (arm, against), items in pairs.items()]


def _verdict(view: View, arm: str, against: str, items: list[Part]) -> str:
    counts = Counter(item["verdict"] for item in items)
    told = ", ".join(f"{verdict} in {counts[verdict]}" for verdict in VERDICTS if counts[verdict])
    pair = f"{view.arms[arm]['title']} against {view.arms[against]['title']}"
    text = f"{pair}, {counted(len(items), 'case')}: {told}."
    ratios = sorted((item["ratio"], item["case"]) for item in items if item["ratio"] is not None)
    if len(ratios) > 1:
        (low, first), (high, last) = ratios[0], ratios[-1]
        text += (
            f" The ratio goes from {significant(low)} ({_title(view, first)})"
            f" to {significant(high)} ({_title(view, last)})."
        )
    left_out = len(view.cases) - len(items)
    return text + (f" {counted(left_out, 'case')} could not be compared." if left_out else "")


def sampling(result: Part) -> list[str]:
    """Return how it was sampled, why sampling stopped, and what did not get as narrow as wanted."""
    design, timing = result["design"], result["timing"]
    cells = [cell for cell in result["cells"] if cell["status"] == "ok"]
    lines = [
        f"{counted(timing['blocks'], 'randomised block')} after {design['warmup_blocks']} for warm-up, "
        f"seed {design['seed']}; {duration(timing['wall_s'])} in all, "
        f"{duration(timing['sampled_s'])} of them in samples"
        + (f"; taken up again {counted(timing['resumed'], 'time')}." if timing["resumed"] else "."),
    ]
    why = Counter(cell["stopped"] for cell in cells)
    words = {
        "width": f"stopped with an interval within ± {percent(design['half_width'])}",
        "budget": f"stopped by the budget of {duration(design['budget_s'])}",
        "blocks": f"stopped after {design['most_blocks']} blocks",
    }
    told = [f"{why[key]} {text}" for key, text in words.items() if why[key]]
    if told:
        lines.append(f"Of {counted(len(cells), 'cell')}, {', '.join(told)}.")
    wide = [
        cell for cell in cells if cell["half_width"] is not None and cell["half_width"] > design["half_width"]
    ]
    if wide:
        view, worst = View(result), max(wide, key=lambda cell: float(cell["half_width"]))
        name = f"{_title(view, worst['case'])} on {view.arms[worst['arm']]['title']}"
        amount = counted(len(wide), "interval is", "intervals are")
        lines.append(f"{amount} wider than wanted, the widest ± {percent(worst['half_width'])} ({name}).")
    return [*lines, *_said(result, "remark")]


def doubts(result: Part) -> list[str]:
    """Return what a driver says against believing the numbers of a case."""
    return _said(result, "doubt")


def _said(result: Part, what: str) -> list[str]:
    """Return what a driver says of its cases, once each: the first arm's words, where others differ by a number alone."""
    view = View(result)
    found: dict[str, str] = {}
    for cell in result["cells"]:
        said = cell["evidence"].get(what)
        if said:
            found.setdefault(cell["case"], f"{_title(view, cell['case'])}: {said}.")
    return list(found.values())


def noise(result: Part) -> list[str]:
    """Return how busy the machine was, and what was notable."""
    seen = result["noise"]
    figures = f"steal {percent(seen['steal'])}, load of others {seen['load']:.2g}"
    return [f"The machine was {seen['verdict']}: {figures}.", *_shared_core(seen.get("calm")), *seen["warnings"]]


def _shared_core(calm: float | None) -> list[str]:
    if calm is None:
        return []
    told = f"In {percent(calm)} of the rounds the core's other hardware thread was idle"
    return [f"{told}; only such rounds are timed where there are enough."]


def provenance(result: Part) -> list[tuple[str, str]]:
    """Return what identifies the run: (name, value)."""
    return [
        ("Run key", result["run_key"]),
        ("Profile", result["profile"]),
        ("Selection", _selection(result["partial"])),
        *(
            (f"Local stand-in for {name}", _text(value))
            for name, value in sorted(result["overrides"].items())
        ),
        ("Started", result["timing"]["started"]),
        ("Finished", result["timing"]["finished"]),
        ("Machine", result["machine"]["name"]),
        ("Machine fingerprint", result["machine"]["fingerprint"]),
    ]


def _selection(partial: Mapping[str, Any] | None) -> str:
    if not partial:
        return "none: a full run"
    parts = [f"{kind}: {', '.join(partial[kind])}" for kind in ("arms", "cases") if partial[kind] is not None]
    return "; ".join(parts) + ". This is no full run."


def command(result: Part) -> str:
    """Return the command that measures this again."""
    words = ["./bench", f"profile={result['profile']}"]
    for kind in ("arms", "cases"):
        if result["partial"] and result["partial"][kind] is not None:
            words.append(f"{kind}={','.join(result['partial'][kind])}")
    words += [f"override.{name}={_text(value)}" for name, value in sorted(result["overrides"].items())]
    return shlex.join([*words, f"run_{result['experiment']}"])


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, text) for everything in nested mappings and lists; short lists stay in one line."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        for index, item in enumerate(value):
            yield from flat(item, f"{path}[{index}]")
    else:
        yield path, _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_text(item)}" for key, item in value.items()) or "none"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
