"""``doit export FILE [TASK…]``: what tasks made, in one file, for a machine that cannot make it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.commands.closure import closure
from bpfbench.commands.reading import ReadingCommand
from bpfbench.commands.selection import wanted_keys
from bpfbench.commands.text import counted, shortest, size
from bpfbench.commands.ticker import Ticker
from bpfbench.errors import BenchError
from bpfbench.store.keys import ID

if TYPE_CHECKING:
    from bpfbench.layout import Layout
    from bpfbench.store.store import Item, Store


class Export(ReadingCommand):
    """Write a closure."""

    name = "export"
    doc_purpose = "write what tasks made, and all they are made from, to one file for another machine"
    doc_usage = "FILE [TASK ...]"
    doc_description = (
        "Everything that a named task is made from must be in the store already, with the words that it was "
        "made with (profile=, noise= and so on). Without any task, all is written that ./bench would make and "
        "that it made last, as far as it is there. `import` reads the file. The same items give the same "
        "bytes; the SHA-256 that is printed is what `import --sha256` wants to know."
    )

    def execute(self, params: Any, args: list[str]) -> int:
        """Take the first positional argument as a file, the others as tasks."""
        self._file, self._names = args[:1], args[1:]
        return super().execute(params, [])

    def _execute(self) -> int:
        from bpfbench.store.closure import export
        from bpfbench.store.store import Store

        here = self.load()
        if not self._file:
            raise BenchError("export wants to know where to", hint="./bench export closure.tar [TASK ...]")
        to = here.cwd / self._file[0]
        _check(to, {task.name for task in self.task_list})
        items = self._items(Store(here.layout.store), here.layout)
        with Ticker() as ticker:
            written = export(items, to, ticker)
        place = shortest(to, here.cwd)
        self.outstream.write(f"{place}: {counted(len(written.ids), 'item')}, {size(written.size)}\n")
        self.outstream.write(f"sha256 {written.sha256}\n")
        return 0

    def _items(self, store: Store, layout: Layout) -> list[Item]:
        """Return the items to write. Raises ``BenchError`` when a named task, or what it needs, has none."""
        from bpfbench.store.roots import named

        items: list[Item] = []
        lacking: list[str] = []
        for task in closure(self.task_list, self._names or self.sel_tasks):
            keys = wanted_keys(task)
            found = [item for key in keys if (item := store.find(key))]
            items += found
            if (task.meta or {}).get("step") and (not keys or len(found) < len(keys)):
                lacking.append(task.name)
        if not self._names:
            made = {path.stem for path in layout.pointers.glob("*.json")}
            lacking = [name for name in lacking if name not in made]
            items += [item for item_id in sorted(named(layout)) if ID.fullmatch(item_id) and (item := store.find(item_id))]
        elif lacking:
            message = f"not in the store, or damaged: what {', '.join(lacking)} should have made"
            raise BenchError(message, hint=f"./bench {' '.join(self._names)}")
        if not items:
            raise BenchError("there is nothing to export yet", hint="./bench makes everything")
        if lacking:
            sys.stderr.write(f"note: not made yet, and left out: {', '.join(lacking)}\n")
        return items


def _check(to: Path, tasks: set[str]) -> None:
    if to.is_dir():
        raise BenchError(f"{to} is a directory", hint="name a file")
    if not to.parent.is_dir():
        raise BenchError(f"{to.parent} is not there", hint=f"mkdir -p {to.parent}")
    if to.name in tasks and not to.exists():
        message = f"{to.name} is the name of a task: export wants a file first"
        raise BenchError(message, hint=f"./bench export closure.tar {to.name}")
