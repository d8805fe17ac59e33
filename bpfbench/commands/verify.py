"""``doit verify [NAME…]``: hash what is in the store, all of it or what is named, and tell every damage."""

from __future__ import annotations

import sys
import time
from typing import Any

from bpfbench.commands.reading import ReadingCommand
from bpfbench.commands.selection import chosen_ids
from bpfbench.commands.text import counted, duration, one_line, size
from bpfbench.commands.ticker import Ticker

DAMAGED = 1
_MOST = 8
"""Damages that are told of one item; their number is told in any case."""


class Verify(ReadingCommand):
    """Hash everything."""

    name = "verify"
    doc_purpose = "hash everything in the store and tell what is damaged"
    doc_usage = "[NAME ...]"
    doc_description = (
        "NAME is a task, an item, or an item's id or its first digits; patterns with * will do. Without any, "
        "the whole store is read. The exit status is 1 when anything is damaged. Nothing is changed: what is "
        "damaged is made again by the next run that needs it."
    )

    def execute(self, params: Any, args: list[str]) -> int:
        """Take the positional arguments as names, not as tasks."""
        self._names = args
        return super().execute(params, [])

    def _execute(self) -> int:
        from bpfbench.store.audit import audit, strays
        from bpfbench.store.store import Store

        store = Store(self.load().layout.store)
        ids = chosen_ids(store, self._names, self.task_list) if self._names else store.ids()
        begun, seen, bad, total = time.monotonic(), 0, 0, 0
        with Ticker() as ticker:
            for finding in audit(store, ids):
                seen, total = seen + 1, total + finding.size
                ticker(f"{seen} of {len(ids)}  {finding.id}")
                if finding.damage:
                    bad += 1
                    ticker.clear()
                    self.outstream.write("".join(f"{line}\n" for line in _told(finding.id, finding.damage)))
        took = duration(time.monotonic() - begun)
        verdict = f"{bad} of {counted(seen, 'item')} damaged" if bad else f"{counted(seen, 'item')} intact"
        self.outstream.write(f"{verdict} ({size(total)} hashed in {took})\n")
        for name in [] if self._names else strays(store):
            self.outstream.write(f"note: {one_line(name)} in {store.root} is nothing of the store's\n")
        if bad:
            sys.stderr.write("  → ./bench makes again what it needs; `./bench gc` shows what nobody needs\n")
        return DAMAGED if bad else 0


def _told(item_id: str, damage: tuple[str, ...]) -> list[str]:
    lines = [f"✘ {item_id}", *(f"    {one_line(one)}" for one in damage[:_MOST])]
    return [*lines, f"    and {len(damage) - _MOST} more"] if len(damage) > _MOST else lines
