"""system: the OS packages that the asked-for tasks need, one sub-task for each thing that needs any."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from bpfbench.context import current
from bpfbench.model.outline import Outline, outlines
from bpfbench.model.types import Package, Requirement
from tasks.task import action

if TYPE_CHECKING:
    from bpfbench.progress import Progress


def task_system() -> Iterator[dict[str, Any]]:
    """Install what is missing (root on Debian and Ubuntu), or say the one command to type."""
    model = current().model
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
            "uptodate": [functools.partial(_provided, requirements)],
            "actions": [action(f"system:{name}", functools.partial(_install, requirements))],
            "meta": {"requirements": requirements},
        }


def _provided(requirements: Sequence[Requirement]) -> bool:
    from bpfbench import system

    return not system.missing(requirements)


def _install(requirements: Sequence[Requirement], progress: Progress) -> None:
    from bpfbench import system

    system.install(requirements, progress)
