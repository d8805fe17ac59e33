"""``doit gc [--delete]``: what in the store nobody needs any more, and how much room it takes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from bpfbench.commands.reading import ReadingCommand
from bpfbench.commands.selection import wanted_keys
from bpfbench.commands.text import counted, duration, one_line, size

if TYPE_CHECKING:
    from bpfbench.store.garbage import Collected, Held, Survey
    from bpfbench.store.roots import Root


class Gc(ReadingCommand):
    """Show, and with ``--delete`` remove, what is not needed."""

    name = "gc"
    doc_purpose = "show what in the store nobody needs any more; --delete removes it"
    doc_usage = "[--delete]"
    doc_description = (
        "What stays: everything that this checkout's tasks ask for now, that its results show or were "
        "measured from, the same for all other checkouts that use this store, and whatever anybody is using "
        "at this moment. Builds and measurements may go on meanwhile."
    )
    cmd_options = (
        {
            "name": "delete", "short": "", "long": "delete", "type": bool, "default": False,
            "help": "remove what is shown",
        },
        {
            "name": "yes", "short": "y", "long": "yes", "type": bool, "default": False,
            "help": "the same as --delete",
        },
    )  # fmt: skip

    def _execute(self, delete: bool, yes: bool, pos_args: list[str]) -> int:
        from bpfbench.errors import BenchError
        from bpfbench.process import identity
        from bpfbench.store import garbage
        from bpfbench.store.roots import register, roots
        from bpfbench.store.store import Store

        if pos_args:
            raise BenchError(f"gc takes no names, but was given {pos_args[0]!r}", hint="./bench help gc")
        layout = self.load().layout
        store, write = Store(layout.store), self.outstream.write
        users = roots(layout.store, layout)
        wanted = {key.id for task in self.task_list for key in wanted_keys(task)}
        found = garbage.survey(store, users, wanted)
        write("".join(f"{line}\n" for line in (*_users(users), *_shown(found))))
        if not (delete or yes):
            if found.dead:
                write("nothing was removed\n  → ./bench gc --delete\n")
            return 0
        identity.drop()
        register(layout)
        with identity.privileged():  # other users' items too, for whom may
            done = garbage.collect(store, found.dead, lambda: roots(layout.store, layout))
            garbage.forget_gone(users)
            swept = store.sweep()
        write("".join(f"{line}\n" for line in _told(found, done, len(swept))))
        if done.refused:
            sys.stderr.write("  → run this as the user who made them, or as root\n")
        return 0


def _users(users: Iterable[Root]) -> Iterator[str]:
    """Yield a line for every checkout that has a say."""
    words = {
        "open": "",
        "closed": "  (may not be looked into: keeps what it named last, and all that is newer)",
        "gone": "  (gone: keeps nothing)",
    }
    for root in users:
        yield f"used by {one_line(str(root.checkout))}{words[root.state]}"


def _shown(found: Survey) -> Iterator[str]:
    """Yield what would go, one line a kind, and what would stay."""
    kinds: dict[str, list[Held]] = {}
    for held in found.dead:
        kinds.setdefault(held.name, []).append(held)
    width = max((len(name) for name in kinds), default=0)
    for name, some in kinds.items():
        count, room = counted(len(some), "item"), size(_total(some))
        yield f"  {name:<{width}}  {count:>9}  {room:>9}{_cost(name, some)}"
    stays = f"{counted(len(found.live), 'item')} of {size(_total(found.live))} stay"
    if found.dead:
        yield f"not needed: {counted(len(found.dead), 'item')} of {size(_total(found.dead))}; {stays}"
    else:
        yield f"everything is needed: {stays}"


def _cost(name: str, some: Sequence[Held]) -> str:
    """Return what it took to make them, where it took long: samples cannot be made again by building."""
    seconds = sum(held.seconds for held in some)
    verb = "measuring" if name.startswith("measure-") else "making"
    return f"  ({duration(seconds)} of {verb})" if seconds >= 1 else ""


def _told(found: Survey, done: Collected, swept: int) -> Iterator[str]:
    sizes = {held.id: held.size for held in found.dead}
    gone = sum(sizes[item_id] for item_id in done.removed)
    rest = f" and {counted(swept, 'left-over')} of killed runs" if swept else ""
    yield f"removed {counted(len(done.removed), 'item')} of {size(gone)}{rest}"
    for item_id in done.used:
        yield f"  {item_id} stays: somebody has come to need it"
    for item_id in done.refused:
        yield f"  {item_id} stays: it is another user's, in a directory with the sticky bit"
    if done.undeleted:
        kept = size(sum(sizes[item_id] for item_id in done.undeleted))
        yield f"  {kept} of that is another user's: free when they, or root, next run ./bench with this store"


def _total(some: Iterable[Held]) -> int:
    return sum(held.size for held in some)
