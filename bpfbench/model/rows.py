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
    Metric,
    Origin,
    Package,
    Profile,
    Requirement,
    Runtime,
    Source,
)

Row = list[Any]


def location_row(at: Location) -> Row:
    """Flatten a location."""
    return [at.file, at.line, at.column]


def source_row(source: Source) -> Row:
    """Flatten a source."""
    origins = [[origin.method, origin.fields] for origin in source.origins]
    at = location_row(source.location)
    return [source.name, source.title, source.revision, source.hash, origins, at]


def source(row: Row) -> Source:
    """Undo ``source_row``."""
    *plain, origins, at = row
    values: Row = [*plain, tuple([Origin(*origin) for origin in origins]), Location(*at)]
    return Source(*values)


def package_row(package: Package) -> Row:
    """Flatten a package."""
    artefacts = [[a.output, a.kind, a.sources, a.includes, a.flags, a.libraries] for a in package.artefacts]
    lists = [package.inputs, package.sources, package.depends, package.needs]
    plain = [package.name, package.title, package.recipe]
    return [plain, location_row(package.location), lists, package.options, artefacts]


def package(row: Row) -> Package:
    """Undo ``package_row``."""
    plain, at, lists, options, artefacts = row
    made = tuple(Artefact(output, kind, *map(tuple, more)) for output, kind, *more in artefacts)
    values: Row = [*plain, Location(*at), *map(tuple, lists), options, made]
    return Package(*values)


def runtime_row(runtime: Runtime) -> Row:
    """Flatten a runtime."""
    plain = [runtime.name, runtime.title, runtime.where, runtime.colour]
    lists = [runtime.requires, runtime.packages, runtime.attaches]
    rest = [runtime.loader_env, runtime.target_env, runtime.engine, runtime.backend]
    return [plain, location_row(runtime.location), lists, rest]


def runtime(row: Row) -> Runtime:
    """Undo ``runtime_row``."""
    plain, at, lists, rest = row
    values: Row = [*plain, Location(*at), *map(tuple, lists), *rest]
    return Runtime(*values)


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
    return [[profile.name, profile.title, *blocks, *numbers], profile.figure_formats, profile.params]


def profile(row: Row) -> Profile:
    """Undo ``profile_row``."""
    plain, formats, params = row
    values: Row = [*plain, tuple(formats), params]
    return Profile(*values)


def requirement_row(requirement: Requirement) -> Row:
    """Flatten a requirement."""
    ways = [requirement.command, requirement.header, requirement.file]
    return [requirement.name, requirement.why, requirement.packages, ways]


def requirement(row: Row) -> Requirement:
    """Undo ``requirement_row``."""
    name, why, packages, ways = row
    return Requirement(name, why, {family: tuple(listed) for family, listed in packages.items()}, *ways)
