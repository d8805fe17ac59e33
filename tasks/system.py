"""system: the OS packages that the asked-for tasks need, one sub-task for each thing that needs any."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.model.outline import Outline, outlines
from bpfbench.model.types import Package, Requirement
from tasks.task import action

if TYPE_CHECKING:
    from bpfbench.progress import Progress


def task_system() -> Iterator[dict[str, Any]]:
    """Install what is missing (root on Debian and Ubuntu), or say the one command to type."""
    context = current()
    model = context.model
    needs: dict[str, dict[str, None]] = {}
    owners: list[Package | Outline] = [*model.packages.values(), *outlines(model)]
    for owner in owners:
        if owner.needs:  # a package and an experiment of the same name share a sub-task
            needs.setdefault(owner.name, {}).update(dict.fromkeys(owner.needs))
    yield {"name": None, "doc": "the OS packages that the experiments need"}
    for name, needed in needs.items():
        requirements = [model.requirements[requirement] for requirement in needed]
        yield {
            "name": name,
            "doc": f"OS packages for {name}: {', '.join(needed)}",
            "uptodate": [functools.partial(_provided, context, name, requirements)],
            "actions": [action(f"system:{name}", functools.partial(_install, context, requirements))],
            "meta": {"requirements": requirements},
        }


def _provided(context: Context, name: str, requirements: Sequence[Requirement]) -> bool:
    from bpfbench import optional, system

    lacking = system.missing(requirements)
    named = f"system:{name}" in context.named
    return all(one.optional and not named and not optional.worth_trying(context.layout.store, one) for one in lacking)


def _install(context: Context, requirements: Sequence[Requirement], progress: Progress) -> None:
    from bpfbench import optional, system

    system.install([one for one in requirements if not one.optional], progress)
    for one in requirements:
        if one.optional:
            optional.install(context.layout.store, one, progress)
