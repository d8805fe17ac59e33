"""What no schema can say: names that agree, references that lead somewhere, no circles, paths that stay."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bpfbench.model.documents import Documents, mappings, text, texts
from bpfbench.model.paths import check_form, check_module, check_path
from bpfbench.model.problems import Path, did_you_mean, one_of
from bpfbench.model.units import seconds
from bpfbench.model.yaml import Document

PLACEHOLDERS = ("segment", "work")
"""What a runtime's environment may name in braces, beside ``{package:NAME}``."""
TASKS = {"source": "fetch", "package": "build", "experiment": "run"}
"""Kinds that have tasks of their own → the prefix of those tasks."""

_BRACES = re.compile(r"\{([^{}]*)\}")


def check_all(documents: Documents) -> None:
    """Look at everything that was read, and note every problem in ``documents``."""
    for kind, named in documents.by_kind.items():
        for stem, document in named.items():
            _file_name(documents, document, kind, stem)
    _task_names(documents)
    requirements = _names(documents.system, ("requirements",))
    for document in documents.by_kind["source"].values():
        _source(documents, document)
    for document in documents.by_kind["package"].values():
        _package(documents, document, requirements)
    _circles(documents)
    for document in documents.by_kind["runtime"].values():
        _runtime(documents, document)
    for document in documents.by_kind["experiment"].values():
        _experiment(documents, document, requirements)
    for document in documents.by_kind["published"].values():
        _published(documents, document)
    if documents.profiles is not None:
        _profiles(documents, documents.profiles)


def _names(document: Document | None, path: Path) -> set[str]:
    value = document.get(path) if document is not None else None
    return set(value) if isinstance(value, dict) else set()


def _file_name(documents: Documents, document: Document, kind: str, stem: str) -> None:
    name = text(document, (kind,))
    if name is not None and name != stem:
        folder = document.file.rpartition("/")[0]
        hint = f'call it "{stem}" here, or the file {folder}/{name}.yaml'
        documents.wrong(document, (kind,), f'"{name}" is not the name of its file', f"the name {stem}", hint)


def _task_names(documents: Documents) -> None:
    """Refuse names that differ in - and _ alone: their tasks could not be told apart by a reader."""
    for kind, task in TASKS.items():
        first: dict[str, str] = {}
        for stem, document in sorted(documents.by_kind[kind].items()):
            other = first.setdefault(stem.replace("-", "_"), stem)
            if other != stem:
                message = f"the tasks {task}_{stem} and {task}_{other} differ in - and _ alone"
                hint = f"rename this {kind}, or that of {documents.by_kind[kind][other].file}"
                documents.wrong(document, (kind,), message, "a name unlike all others", hint)


def _source(documents: Documents, document: Document) -> None:
    for path, origin in mappings(document, ("origins",)):
        for field, value in origin.items():
            for place in _BRACES.findall(value) if isinstance(value, str) else ():
                if place != "reference":
                    message = f"{{{place}}} stands for nothing"
                    documents.wrong(document, (*path, field), message, "{reference}", did_you_mean(place, ["reference"]))


def _package(documents: Documents, document: Document, requirements: set[str]) -> None:
    check_module(documents, document, ("recipe",), "build", "recipe")
    for path, _ in texts(document, ("inputs",)):
        check_path(documents, document, path, "any")
    documents.refer_all(document, ("sources",), "source", documents.known["source"])
    documents.refer_all(document, ("depends",), "package", documents.known["package"])
    if documents.system is not None:
        documents.refer_all(document, ("needs",), "system requirement", requirements)
    outputs: list[Path] = []
    for artefact, _ in mappings(document, ("artefacts",)):
        for path, _ in texts(document, (*artefact, "sources")):
            check_path(documents, document, path, "file")
        for path, _ in texts(document, (*artefact, "includes")):
            check_path(documents, document, path, "directory")
        if check_form(documents, document, (*artefact, "output"), "package's tree"):
            outputs.append((*artefact, "output"))
    documents.once(document, outputs, "artefacts")
    _nested_outputs(documents, document, outputs)


def _nested_outputs(documents: Documents, document: Document, outputs: list[Path]) -> None:
    names = {str(text(document, path)) for path in outputs}
    for path in outputs:
        name = str(text(document, path))
        if inner := sorted(other for other in names if other.startswith(f"{name}/")):
            message = f'"{name}" cannot be a file and the directory of "{inner[0]}"'
            documents.wrong(document, path, message, "a path that no other output lies below")


def _circles(documents: Documents) -> None:
    """Refuse packages that depend on themselves, by however many others; each circle is told once."""
    packages = documents.by_kind["package"]
    depends = {name: [item for _, item in texts(package, ("depends",))] for name, package in packages.items()}
    for circle in circles(depends):
        document = packages[circle[0]]
        at = next(path for path, item in texts(document, ("depends",)) if item == circle[1 % len(circle)])
        chain = " → ".join((*circle, circle[0]))
        documents.wrong(document, at, f"packages depend on each other in a circle: {chain}", "no circle")


def circles(edges: Mapping[str, list[str]]) -> list[tuple[str, ...]]:
    """Find circles in a graph: at least one through every circle's nodes, each starting at its least name."""
    found: dict[tuple[str, ...], None] = {}
    done: set[str] = set()
    for start in sorted(edges):
        trail: dict[str, None] = {}
        # A stack of iterators in place of recursion: a chain may be longer than Python's stack.
        stack = [iter((start,))]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                if trail:
                    done.add(trail.popitem()[0])
            elif name in trail:
                way = list(trail)
                circle = way[way.index(name) :]
                least = circle.index(min(circle))
                found[tuple(circle[least:] + circle[:least])] = None
            elif name in edges and name not in done:
                trail[name] = None
                stack.append(iter(edges[name]))
    return list(found)


def _runtime(documents: Documents, document: Document) -> None:
    documents.refer_all(document, ("packages",), "package", documents.known["package"])
    listed = {name for _, name in texts(document, ("packages",))}
    for side in ("loader", "target"):
        for variable in sorted(_names(document, (side, "env"))):
            path = (side, "env", variable)
            for place in _BRACES.findall(text(document, path) or ""):
                package = place.removeprefix("package:")
                if package == place and place not in PLACEHOLDERS:
                    known = [*PLACEHOLDERS, "package:NAME"]
                    message = f"{{{place}}} stands for nothing"
                    documents.wrong(document, path, message, one_of(known), did_you_mean(place, known))
                elif package != place and package not in listed and listed <= documents.known["package"]:
                    message = f'{{{place}}}: the package "{package}" is not in this runtime\'s packages'
                    documents.wrong(document, path, message, one_of(listed), did_you_mean(package, listed))
    _log(documents, document)
    cases = {
        str(case.get("case")) for experiment in documents.by_kind["experiment"].values() for _, case in mappings(experiment, ("cases",))
    }
    for name in sorted(_names(document, ("deviates",)) - cases):
        message = f'no experiment has a case called "{name}"'
        documents.wrong(document, ("deviates", name), message, "the name of a case", did_you_mean(name, cases))


def _log(documents: Documents, document: Document) -> None:
    for name, groups in (("failed", 0), ("ready", 0), ("engine", 1), ("unable", 0)):
        pattern, at = text(document, ("log", name)), ("log", name)
        try:
            found = re.compile(pattern or "()").groups
        except re.error as error:
            documents.wrong(document, at, f"{pattern!r} is no regular expression: {error}", "a regular expression")
        else:
            if found < groups:
                message = f"{pattern!r} has no group that would be the engine's name"
                documents.wrong(document, at, message, "a pattern with a group, in ( )")
    loaders = {file for _, file in texts(document, ("log", "loader"))}
    for path, file in texts(document, ("log", "target")):
        if file in loaders:
            documents.wrong(document, path, f'"{file}" is the loader\'s log', "another file than the loader's")


def _experiment(documents: Documents, document: Document, requirements: set[str]) -> None:
    check_module(documents, document, ("driver",), "drivers", "driver")
    documents.refer_all(document, ("packages",), "package", documents.known["package"])
    if documents.system is not None:
        documents.refer_all(document, ("needs",), "system requirement", requirements)
    arms = _arms(documents, document)
    if arms:
        documents.refer(document, ("baseline",), "arm", {str(text(document, path)) for path in arms})
    for kind, many in (("metric", "metrics"), ("group", "groups"), ("case", "cases")):
        documents.once(document, [(*path, kind) for path, _ in mappings(document, (many,))], many)
    _primary(documents, document)
    groups = {str(item.get("group")) for _, item in mappings(document, ("groups",))}
    attachable = {
        kind for runtime in documents.by_kind["runtime"].values() for _, kind in texts(runtime, ("attaches",))
    }
    for path, _ in mappings(document, ("cases",)):
        if groups:
            documents.refer(document, (*path, "group"), "group", groups)
        for at, kind in texts(document, (*path, "attaches")):
            if kind not in attachable:
                message = f'no runtime attaches to "{kind}"'
                documents.wrong(document, at, message, one_of(attachable), did_you_mean(kind, attachable))
    _floors(documents, document)


def _arms(documents: Documents, document: Document) -> list[Path]:
    """Check the arms; return the paths of their names."""
    names: list[Path] = []
    for path, _ in texts(document, ("arms",)):
        documents.refer(document, path, "runtime", documents.known["runtime"])
        names.append(path)
    for path, arm in mappings(document, ("arms",)):
        documents.refer(document, (*path, "runtime"), "runtime", documents.known["runtime"])
        if isinstance(arm.get("arm"), str):
            names.append((*path, "arm"))
    names.sort(key=lambda path: path[1])
    documents.once(document, names, "arms")
    return names


def _primary(documents: Documents, document: Document) -> None:
    metrics = list(mappings(document, ("metrics",)))
    chosen = [path for path, metric in metrics if metric.get("primary") is True]
    for path in chosen[1:]:
        hint = f"the first is at {document.value((*chosen[0], 'primary'))}"
        at = (*path, "primary")
        documents.wrong(document, at, "a second primary metric", "exactly one primary metric", hint)
    if metrics and not chosen:
        hint = "write primary: true in the metric that tables and figures show"
        documents.wrong(document, ("metrics",), "no metric is primary", "exactly one primary metric", hint)


def _floors(documents: Documents, document: Document) -> None:
    cases = {str(case.get("case")): case for _, case in mappings(document, ("cases",))}
    for path, case in mappings(document, ("cases",)):
        at = (*path, "floor")
        floor = text(document, at)
        documents.refer(document, at, "case", set(cases))
        if floor is None or floor not in cases:
            continue
        if floor == case.get("case"):
            documents.wrong(document, at, f'"{floor}" is its own floor', "another case")
        elif (below := cases[floor].get("floor")) is not None:
            kind = "circle" if below == case.get("case") else "chain"
            message = f'floors in a {kind}: "{floor}" has the floor "{below}" itself'
            documents.wrong(document, at, message, "a case that has no floor")


def _profiles(documents: Documents, document: Document) -> None:
    documents.refer(document, ("default",), "profile", _names(document, ("profiles",)))
    for path, profile in mappings(document, ("profiles",)):
        least, most = document.get((*path, "blocks", "least")), document.get((*path, "blocks", "most"))
        if isinstance(least, int) and isinstance(most, int) and most < least:
            at = (*path, "blocks", "most")
            documents.wrong(document, at, f"{most} is less than the {least} of least", f"at least {least}")
        budget = seconds(text(document, (*path, "budget")) or "")
        sample = seconds(text(document, (*path, "sample_time")) or "")
        if budget is not None and sample is not None and sample >= budget:
            at = (*path, "sample_time")
            message = f"{profile['sample_time']} does not fit into the budget of {profile['budget']}"
            documents.wrong(document, at, message, f"less than {profile['budget']}")
        _of_experiments(documents, document, (*path, "experiments"))


def _of_experiments(documents: Documents, document: Document, path: Path) -> None:
    """What a profile says of single experiments: they must exist, and so must their cases and arms."""
    known = documents.known["experiment"]
    for name in sorted(_names(document, path)):
        where = (*path, name)
        if name not in known:
            message = f'no experiment is called "{name}"'
            documents.wrong_key(document, where, message, one_of(known), did_you_mean(name, known))
        elif (experiment := documents.by_kind["experiment"].get(name)) is not None:
            cases = {str(case.get("case")) for _, case in mappings(experiment, ("cases",))}
            documents.refer_all(document, (*where, "cases"), "case", cases)
            documents.refer_all(document, (*where, "arms"), "arm", _arm_names(experiment))
            _with_baseline(documents, document, (*where, "arms"), experiment)


def _arm_names(experiment: Document) -> set[str]:
    return {name for _, name in texts(experiment, ("arms",))} | {str(arm.get("arm")) for _, arm in mappings(experiment, ("arms",))}


def _with_baseline(documents: Documents, document: Document, path: Path, experiment: Document) -> None:
    """What the others are compared with is measured beside them."""
    baseline, chosen = text(experiment, ("baseline",)), [arm for _, arm in texts(document, path)]
    if chosen and baseline and baseline not in chosen:
        documents.wrong(document, path, f"{baseline} is missing, the baseline", f"{baseline} among the arms")


def _published(documents: Documents, document: Document) -> None:
    """A published number names the case that it stands beside, or says what it is; it names a runtime that there is."""
    documents.refer(document, ("experiment",), "experiment", documents.known["experiment"])
    experiment = documents.by_kind["experiment"].get(text(document, ("experiment",)) or "")
    cases = {str(case.get("case")) for _, case in mappings(experiment, ("cases",))} if experiment else set()
    for path, value in mappings(document, ("values",)):
        documents.refer(document, (*path, "runtime"), "runtime", documents.known["runtime"])
        if cases:
            documents.refer(document, (*path, "case"), "case", cases)
        if ("case" in value) == ("what" in value):
            documents.wrong(document, path, "a value has either the case that it is, or says what it is", "case or what")
