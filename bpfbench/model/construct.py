"""Documents that are known to be right into dataclasses, with defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from bpfbench.model.documents import Documents
from bpfbench.model.types import (
    Arm,
    Artefact,
    Case,
    Experiment,
    Group,
    Locked,
    Log,
    Metric,
    Model,
    Origin,
    Package,
    Profile,
    Requirement,
    Runtime,
    Source,
    Submodule,
)
from bpfbench.model.units import fraction, seconds
from bpfbench.model.yaml import Document

_Value = TypeVar("_Value")
_Plain = Mapping[str, Any]


def construct(documents: Documents, digest: str) -> Model:
    """Make the model; ``documents`` must have passed every check."""
    kinds = documents.by_kind
    runtimes = {name: _runtime(document) for name, document in sorted(kinds["runtime"].items())}
    profiles = documents.profiles.data if documents.profiles else {}
    system = documents.system.data if documents.system else {}
    locked = documents.lock.data["sources"] if documents.lock else {}
    return Model(
        sources={name: _source(document, locked.get(name)) for name, document in sorted(kinds["source"].items())},
        packages={name: _package(document) for name, document in sorted(kinds["package"].items())},
        runtimes=runtimes,
        experiments={name: _experiment(doc, runtimes) for name, doc in sorted(kinds["experiment"].items())},
        profiles={name: _profile(name, data) for name, data in profiles["profiles"].items()},
        default_profile=profiles["default"],
        requirements={name: _requirement(name, data) for name, data in system["requirements"].items()},
        digest=digest,
    )


def _texts(data: _Plain, key: str) -> tuple[str, ...]:
    return tuple(data.get(key, ()))


def _source(document: Document, locked: _Plain | None) -> Source:
    data = document.data
    return Source(
        name=data["source"],
        title=data["title"],
        reference=data["reference"],
        origins=tuple(_origin(origin) for origin in data["origins"]),
        location=document.value(()),
        locked=_locked(locked) if locked else None,
    )


def _locked(data: _Plain) -> Locked:
    return Locked(
        reference=data["reference"],
        revision=data["revision"],
        hash=data["hash"],
        pins=tuple(_origin(pin) for pin in data["pins"]),
        submodules=tuple(Submodule(path, **module) for path, module in data.get("submodules", {}).items()),
    )


def _origin(data: _Plain) -> Origin:
    return Origin(data["method"], {name: value for name, value in data.items() if name != "method"})


def _package(document: Document) -> Package:
    data = document.data
    return Package(
        name=data["package"],
        title=data["title"],
        recipe=data["recipe"],
        location=document.value(()),
        inputs=_texts(data, "inputs"),
        sources=_texts(data, "sources"),
        depends=_texts(data, "depends"),
        needs=_texts(data, "needs"),
        options=data.get("options", {}),
        artefacts=tuple(_artefact(artefact) for artefact in data.get("artefacts", ())),
    )


def _artefact(data: _Plain) -> Artefact:
    return Artefact(
        output=data["output"],
        kind=data["kind"],
        sources=_texts(data, "sources"),
        includes=_texts(data, "includes"),
        flags=_texts(data, "flags"),
        libraries=_texts(data, "libraries"),
        config=data.get("config"),
    )


def _runtime(document: Document) -> Runtime:
    data = document.data
    return Runtime(
        name=data["runtime"],
        title=data["title"],
        where=data["where"],
        colour=data["colour"],
        location=document.value(()),
        requires=_texts(data, "requires"),
        packages=_texts(data, "packages"),
        attaches=_texts(data, "attaches"),
        loader_env=data.get("loader", {}).get("env", {}),
        target_env=data.get("target", {}).get("env", {}),
        engine=data.get("engine"),
        backend=data.get("backend"),
        status=data.get("status"),
        log=_log(data["log"]) if "log" in data else None,
        deviates=data.get("deviates", {}),
    )


def _log(data: _Plain) -> Log:
    return Log(_texts(data, "loader"), _texts(data, "target"), data["failed"], data["ready"], data["engine"], data.get("unable"))


def _experiment(document: Document, runtimes: Mapping[str, Runtime]) -> Experiment:
    data = document.data
    return Experiment(
        name=data["experiment"],
        title=data["title"],
        description=data["description"],
        driver=data["driver"],
        baseline=data["baseline"],
        packages=_texts(data, "packages"),
        arms=tuple(_arm(arm, runtimes) for arm in data["arms"]),
        groups=tuple(Group(group["group"], group["title"]) for group in data["groups"]),
        cases=tuple(_case(case) for case in data["cases"]),
        metrics=tuple(_metric(metric) for metric in data["metrics"]),
        location=document.value(()),
        needs=_texts(data, "needs"),
        params=data.get("params", {}),
    )


def _arm(data: str | _Plain, runtimes: Mapping[str, Runtime]) -> Arm:
    if isinstance(data, str):
        return Arm(data, data, runtimes[data].title)
    name, runtime = data["arm"], data["runtime"]
    # Two arms of one runtime must not look alike in a figure.
    title = data.get("title", runtimes[runtime].title if name == runtime else name)
    return Arm(name, runtime, title, data.get("options", {}))


def _case(data: _Plain) -> Case:
    return Case(
        name=data["case"],
        title=data["title"],
        group=data["group"],
        divisor=data.get("divisor", 1),
        floor=data.get("floor"),
        attaches=_texts(data, "attaches"),
        labels=_texts(data, "labels"),
        params=data.get("params", {}),
    )


def _metric(data: _Plain) -> Metric:
    return Metric(
        name=data["metric"],
        title=data["title"],
        unit=data["unit"],
        per=data.get("per"),
        direction=data["direction"],
        primary=data.get("primary", False),
    )


def _profile(name: str, data: _Plain) -> Profile:
    experiments = data.get("experiments", {})
    return Profile(
        name=name,
        title=data["title"],
        least_blocks=data["blocks"]["least"],
        most_blocks=data["blocks"]["most"],
        warmup_blocks=data["blocks"]["warmup"],
        half_width=_sure(fraction(data["half_width"])),
        equivalence=_sure(fraction(data["equivalence"])),
        budget=_sure(seconds(data["budget"])),
        sample_time=_sure(seconds(data["sample_time"])),
        figure_formats=_texts(data, "figures"),
        params={name: _without(own, "budget", "cases", "arms") for name, own in experiments.items()},
        budgets={name: _sure(seconds(own["budget"])) for name, own in experiments.items() if "budget" in own},
        cases={name: _texts(own, "cases") for name, own in experiments.items() if "cases" in own},
        arms={name: _texts(own, "arms") for name, own in experiments.items() if "arms" in own},
    )


def _without(data: _Plain, *names: str) -> _Plain:
    return {key: value for key, value in data.items() if key not in names}


def _sure(value: _Value | None) -> _Value:
    assert value is not None, "the schema lets no such value through"
    return value


def _requirement(name: str, data: _Plain) -> Requirement:
    packages = {family: tuple(listed) for family, listed in data["packages"].items()}
    command, header, file = (data.get(way) for way in ("command", "header", "file"))
    return Requirement(name, data["why"], packages, command, header, file, data.get("optional", False))
