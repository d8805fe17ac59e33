"""system: the OS packages that the asked-for tasks need, one sub-task for each thing that needs any."""

from collections.abc import Iterator
from typing import Any

from bpfbench import system
from bpfbench.context import current
from tasks.task import action


def task_system() -> Iterator[dict[str, Any]]:
    """Install what is missing (root on Debian and Ubuntu), or say the one command to type."""
    context = current()
    yield {"name": None, "doc": "the OS packages that the experiments need"}
    for owner in (*context.model.packages.values(), *context.model.experiments.values()):
        if not owner.needs:
            continue
        requirements = [context.model.requirements[name] for name in owner.needs]
        yield {
            "name": owner.name,
            "doc": f"OS packages for {owner.name}: {', '.join(owner.needs)}",
            "uptodate": [lambda needed=requirements: not system.missing(needed)],
            "actions": [action(f"system:{owner.name}", lambda progress, needed=requirements: system.install(needed, progress))],
        }
