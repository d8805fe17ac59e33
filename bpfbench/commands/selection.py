"""What a name on the command line means in the store: a task, an item, an item's id or its beginning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from doit.task import Task

from bpfbench.commands.names import nearest
from bpfbench.errors import BenchError
from bpfbench.store.keys import Key
from bpfbench.store.store import Store

_ID_BEGINS = re.compile(r"[0-9a-f]{6,32}(-.*)?")


def wanted_keys(task: Task) -> list[Key]:
    """Return the present keys of what a task realises; none where they cannot be told now."""
    make = (task.meta or {}).get("step")
    if make is None:
        return []
    try:
        keys: list[Key] = make().wanted()
    except BenchError:
        return []
    return keys


def chosen_ids(store: Store, names: Iterable[str], tasks: Iterable[Task]) -> list[str]:
    """Return the ids of the items that ``names`` stand for, sorted.

    Raises ``BenchError`` for a name of nothing.
    """
    present = store.ids()
    by_name = {task.name: task for task in tasks}
    chosen: set[str] = set()
    for name in names:
        found = {item_id for item_id in present if _means(name, item_id)}
        for task in (task for task in by_name.values() if fnmatchcase(task.name, name)):
            keys = {key.id for key in wanted_keys(task)}
            if not keys & set(present) and task.name == name and not found:
                raise BenchError(f"{name} has nothing in the store", hint=f"./bench {name}")
            found |= keys & set(present)
        if not found:
            known = [*by_name, *(item_id[33:] for item_id in present)]
            raise BenchError(
                f"neither a task nor an item of the store is called {name!r}{nearest(name, known)}",
                hint="name a task, an item, or an item's id or its first digits",
            )
        chosen |= found
    return sorted(chosen)


def _means(name: str, item_id: str) -> bool:
    return fnmatchcase(item_id[33:], name) or (bool(_ID_BEGINS.fullmatch(name)) and item_id.startswith(name))
