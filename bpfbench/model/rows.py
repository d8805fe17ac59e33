"""The model as rows of plain JSON and back, for the cache. Positional: this is read at every start."""

from __future__ import annotations

from typing import Any

from bpfbench.model.types import (
    Arm,
    Artefact,
    Case,
    Experiment,
    Group,
    Location,
    Locked,
    Log,
    Metric,
    Origin,
    Package,
    Profile,
    Requirement,
    Runtime,
    Source,
    Submodule,
)

Row = list[Any]


def location_row(at: Location) -> Row:
    """Flatten a location."""
    return [at.file, at.line, at.column]


def source_row(source: Source) -> Row:
    """Flatten a source."""
    locked = source.locked
    row = locked and [locked.reference, locked.revision, locked.hash, _origin_rows(locked.pins), _submodule_rows(locked)]
    plain = [source.name, source.title, source.reference]
    return [*plain, _origin_rows(source.origins), location_row(source.location), row]


def source(row: Row) -> Source:
    """Undo ``source_row``."""
    *plain, origins, at, locked = row
    values: Row = [*plain, _origins(origins), Location(*at), locked and _locked(locked)]
    return Source(*values)


def _origin_rows(origins: tuple[Origin, ...]) -> Row:
    return [[origin.method, origin.fields] for origin in origins]


def _origins(rows: Row) -> tuple[Origin, ...]:
    return tuple([Origin(*row) for row in rows])


def _submodule_rows(locked: Locked) -> Row:
    return [[module.path, module.url, module.commit, module.hash] for module in locked.submodules]


def _locked(row: Row) -> Locked:
    *plain, pins, submodules = row
    values: Row = [*plain, _origins(pins), tuple([Submodule(*module) for module in submodules])]
    return Locked(*values)


def package_row(package: Package) -> Row:
    """Flatten a package."""
    artefacts = [[a.output, a.kind, a.sources, a.includes, a.flags, a.libraries, a.config] for a in package.artefacts]
    lists = [package.inputs, package.sources, package.depends, package.needs]
    plain = [package.name, package.title, package.recipe]
    return [plain, location_row(package.location), lists, package.options, artefacts]


def package(row: Row) -> Package:
    """Undo ``package_row``."""
    plain, at, lists, options, artefacts = row
    made = tuple(
        Artefact(output, kind, tuple(sources), tuple(includes), tuple(flags), tuple(libraries), config)
        for output, kind, sources, includes, flags, libraries, config in artefacts
    )
    values: Row = [*plain, Location(*at), *map(tuple, lists), options, made]
    return Package(*values)


def runtime_row(runtime: Runtime) -> Row:
    """Flatten a runtime."""
    plain = [runtime.name, runtime.title, runtime.where, runtime.colour]
    lists = [runtime.requires, runtime.packages, runtime.attaches]
    rest = [runtime.loader_env, runtime.target_env, runtime.engine, runtime.backend, runtime.status]
    found = runtime.log
    log = found and [found.loader, found.target, found.failed, found.ready, found.engine, found.unable]
    return [plain, location_row(runtime.location), lists, rest, log, runtime.deviates]


def runtime(row: Row) -> Runtime:
    """Undo ``runtime_row``."""
    plain, at, lists, rest, log, deviates = row
    values: Row = [*plain, Location(*at), *map(tuple, lists), *rest, log and _log(log), deviates]
    return Runtime(*values)


def _log(row: Row) -> Log:
    loader, target, *patterns = row
    return Log(tuple(loader), tuple(target), *patterns)


def experiment_row(experiment: Experiment) -> Row:
    """Flatten an experiment."""
    return [
        [experiment.name, experiment.title, experiment.description, experiment.driver, experiment.baseline],
        experiment.packages,
        [[a.name, a.runtime, a.title, a.options] for a in experiment.arms],
        [[g.name, g.title] for g in experiment.groups],
        [
            [c.name, c.title, c.group, c.divisor, c.floor, c.attaches, c.labels, c.params]
            for c in experiment.cases
        ],
        [[m.name, m.title, m.unit, m.per, m.direction, m.primary] for m in experiment.metrics],
        location_row(experiment.location),
        experiment.needs,
        experiment.params,
    ]


def experiment(row: Row) -> Experiment:
    """Undo ``experiment_row``."""
    plain, packages, arms, groups, cases, metrics, at, needs, params = row
    values: Row = [
        *plain,
        tuple(packages),
        tuple([Arm(*arm) for arm in arms]),
        tuple([Group(*group) for group in groups]),
        tuple([_case(case) for case in cases]),
        tuple([Metric(*metric) for metric in metrics]),
        Location(*at),
        tuple(needs),
        params,
    ]
    return Experiment(*values)


def _case(row: Row) -> Case:
    name, title, group, divisor, floor, attaches, labels, params = row
    return Case(name, title, group, divisor, floor, tuple(attaches), tuple(labels), params)


def profile_row(profile: Profile) -> Row:
    """Flatten a profile."""
    blocks = [profile.least_blocks, profile.most_blocks, profile.warmup_blocks]
    numbers = [profile.half_width, profile.equivalence, profile.budget, profile.sample_time]
    per_experiment = [profile.params, profile.budgets, profile.cases, profile.arms]
    return [[profile.name, profile.title, *blocks, *numbers], profile.figure_formats, *per_experiment]


def profile(row: Row) -> Profile:
    """Undo ``profile_row``."""
    plain, formats, params, budgets, *chosen = row
    selections = [{name: tuple(some) for name, some in names.items()} for names in chosen]
    values: Row = [*plain, tuple(formats), params, budgets, *selections]
    return Profile(*values)


def requirement_row(requirement: Requirement) -> Row:
    """Flatten a requirement."""
    ways = [requirement.command, requirement.header, requirement.file, requirement.optional]
    return [requirement.name, requirement.why, requirement.packages, ways]


def requirement(row: Row) -> Requirement:
    """Undo ``requirement_row``."""
    name, why, packages, ways = row
    return Requirement(name, why, {family: tuple(listed) for family, listed in packages.items()}, *ways)
