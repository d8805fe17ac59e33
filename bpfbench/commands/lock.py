"""``doit lock [NAME…] [to=REFERENCE]``: find out what sources are now, write that into the lock, and show what is different."""

from __future__ import annotations

import sys
from contextlib import suppress

from bpfbench import context
from bpfbench.commands.names import nearest
from bpfbench.commands.reading import ReadingCommand
from bpfbench.errors import BenchError

FAILED = 1


class Lock(ReadingCommand):
    """Update vendor/sources.lock.json, for some sources or for all."""

    name = "lock"
    doc_purpose = "find out revision and hash of sources, write them into the lock, show the difference"
    doc_usage = "[SOURCE ...] [to=REFERENCE]"
    doc_description = (
        "Every origin of a source is tried, so that all of them are pinned; they have to agree. With to=, one source "
        "gets another reference, in its spec too. Other content under an unchanged name is shown and "
        "refused; --accept takes it."
    )
    cmd_options = (
        {
            "name": "accept", "short": "", "long": "accept", "type": bool, "default": False,
            "help": "take other content under an unchanged reference",
        },
        {
            "name": "missing", "short": "", "long": "missing", "type": bool, "default": False,
            "help": "only what is not locked, or at another reference",
        },
    )  # fmt: skip

    def parse_execute(self, in_args: list[str]) -> int:
        """Let options stand behind the names too, as our own hints put them; doit itself would take them for names."""
        own = [word for word in in_args if word in ("--accept", "--missing")]
        return int(super().parse_execute([*own, *(word for word in in_args if word not in own)]))

    def execute(self, params: object, args: list[str]) -> int:
        """Take the positional arguments as sources, not as tasks."""
        self._names = args
        return super().execute(params, [])

    def _execute(self, accept: bool, missing: bool) -> int:
        from bpfbench.process import identity
        from bpfbench.store import roots
        from bpfbench.store.locks import CheckoutLock
        from bpfbench.store.uses import holding

        here = self.load()
        names = _wanted(here, self._names, missing)
        identity.drop()
        with CheckoutLock(here.layout.lock, " ".join(["doit", *sys.argv[1:]])), holding():
            roots.register(here.layout)
            try:
                failed = [name for name in names if not self._lock(here, name, accept)]
            finally:
                roots.register(here.layout)
            if not self._names:
                self._drop(here)
        return FAILED if failed else 0

    def _lock(self, here: context.Context, name: str, accept: bool) -> bool:
        from bpfbench.locking import lock

        note = _Note(name)
        try:
            outcome = lock(here, here.model.sources[name], here.words.to, note, accept=accept)
        except BenchError as error:
            note.clear()
            sys.stderr.write(f"ERROR: {error}\n")
            return False
        note.clear()
        self.outstream.write("".join(f"{line}\n" for line in outcome.lines()))
        self.outstream.flush()
        return True

    def _drop(self, here: context.Context) -> None:
        """Take out of the lock what is no source any more."""
        import json

        from bpfbench.locking import write
        from bpfbench.model.tree import LOCK

        with suppress(FileNotFoundError):
            gone = set(json.loads((here.layout.root / LOCK).read_bytes())["sources"]) - set(here.model.sources)
            if gone:
                write(here.layout.root, dict.fromkeys(gone))
                self.outstream.write("".join(f"{name}: gone\n" for name in sorted(gone)))


class _Note:
    """Shows on a terminal what is being done, in one line that the next one replaces."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shows = sys.stderr.isatty()

    def __call__(self, note: str, *, done: int = 0, total: int = 0) -> None:
        """Say what is being done."""
        if self._shows:
            sys.stderr.write(f"\r\033[K{self._name}: {note}"[:200])
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave nothing behind."""
        if self._shows:
            sys.stderr.write("\r\033[K")


def _wanted(here: context.Context, names: list[str], missing: bool) -> list[str]:
    """Return the sources to lock. Raises ``BenchError`` for a name that is none, and for ``to=`` without one."""
    known = here.model.sources
    for name in names:
        if name not in known:
            raise BenchError(f"no source is called {name!r}{nearest(name, known)}", hint=f"one of: {', '.join(known)}")
    if here.words.to is not None and len(names) != 1:
        raise BenchError("to= goes with the name of one source", hint=f"./bench lock NAME to={here.words.to}")
    chosen = [name for name in known if name in names or not names]
    if not missing:
        return chosen
    return [name for name in chosen if not (entry := known[name].locked) or entry.reference != known[name].reference]


