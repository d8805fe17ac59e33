"""The step behind ``fetch_<source>``: a third-party tree in the store, of the hash that the lock names.

A source's key is that hash and nothing else, so that it does not matter where the tree came from, and everything made from it
has its key before anything is fetched. A local override has a key of its own: commit and content of what lies there.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.steps import Standing, Step
from bpfbench.store import availability, pointers
from bpfbench.store.keys import Key, make_key
from bpfbench.store.locks import MachineLock
from bpfbench.store.store import Item, Store, WrongHash

if TYPE_CHECKING:
    from bpfbench.context import Context
    from bpfbench.fetch.tools import Tools
    from bpfbench.model.types import Locked, Origin, Source
    from bpfbench.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStep(Step):
    """Fetches one source from the first of its origins that has the right tree.

    When all of them are out of reach there is an availability record instead, and the step counts as done: what is made from it is
    then *unsupported*. Naming the task on the command line, or that of a package made from it, tries again, whatever is recorded.
    """

    context: Context
    source: Source

    def standing(self) -> Standing:
        """Say whether there is something to fetch, and why."""
        standing = Step.standing(self)
        reason = None if standing.uptodate else unavailable(self.context, self.source.name)
        return Standing(True, f"out of reach: {reason}") if reason and not self._named else standing

    def run(self, progress: Progress) -> Item | None:  # type: ignore[override] # None: recorded as out of reach
        """Realise the tree, and point to it."""
        key = self.key()
        assert key
        item = Store(self.layout.store).find(key)
        if item is None:
            if self.source.name in self.context.words.overrides:
                item = self._copy(key)
            elif self._named or not unavailable(self.context, self.source.name):
                item = self._fetch(key, locked(self.source), progress)
        if item:
            self.point(item)
        else:
            pointers.write_absent(self.pointer, unavailable(self.context, self.source.name) or "")
        return item

    @property
    def _named(self) -> bool:
        if any(fnmatchcase(self.name, pattern) for pattern in self.context.named):
            return True
        from bpfbench.building import wanted_by_name

        return wanted_by_name(self.context, self.source.name)

    def _copy(self, key: Key) -> Item:
        from bpfbench.fetch.local import copy

        local = local_tree(self.context, self.source.name)
        return Store(self.layout.store).realise(key, lambda tree: copy(local, tree))

    def _fetch(self, key: Key, locked: Locked, progress: Progress) -> Item | None:
        from bpfbench.fetch.errors import Mismatch, Refused, Unavailable

        reasons, wrong = [], False
        with tools_for(self.context, self.name, progress, again=self._named) as tools:
            for origin in self.source.origins:
                try:
                    item = self._realise_from(origin, key, locked, tools, progress)
                except (Unavailable, Mismatch, Refused, WrongHash) as error:
                    wrong = wrong or not isinstance(error, Unavailable)
                    reasons.append(f"{origin_name(origin, locked.reference)}: {error.message}")
                else:
                    forget(self.context, self.source.name)
                    return item
        told = "".join(f"\n    {reason}" for reason in reasons)
        if wrong:
            message = f"{self.source.name}: no origin has what is locked ({locked.hash}):{told}"
            raise BenchError(message, hint=f"if the change is wanted: ./bench lock {self.source.name}")
        seen = _seen(self.source)
        availability.record(records(self.context), f"source-{self.source.name}", False, "; ".join(reasons), seen)
        if self._named:
            hint = f"a local copy can stand in: override.{self.source.name}=/path"
            raise BenchError(f"{self.source.name}: no origin is in reach:{told}", hint=hint)
        return None

    def _realise_from(self, origin: Origin, key: Key, locked: Locked, tools: Tools, progress: Progress) -> Item:
        """Make the tree from one origin. Raises an error of ``bpfbench.fetch.errors`` or ``WrongHash``."""
        from bpfbench.fetch.errors import Unavailable
        from bpfbench.fetch.git import check_submodules

        pin = pin_of(origin, locked)
        if pin is None:
            raise Unavailable(f"not pinned: it was out of reach when {self.source.name} was locked")
        method = importlib.import_module(f"bpfbench.fetch.{pin.method}")

        def make(tree: Path) -> Mapping[str, Any]:
            with MachineLock().shared(on_wait=lambda _: progress("waiting until nobody measures on this machine")):
                obtained = method.obtain(pin.fields, locked.reference, tree, tools)
                if pin.method == "git":
                    check_submodules({m.path: {"commit": m.commit} for m in locked.submodules}, obtained.submodules, self.name)
            return {"origin": origin_name(origin, locked.reference), "revision": obtained.revision}

        return Store(self.layout.store).realise(key, make, expected_hash=locked.hash)


def fetch_step(context: Context, source: Source) -> FetchStep:
    """Return the step that fetches a source. Its key raises ``BenchError`` while the source is not locked."""

    def key() -> Key:
        known = context.source_keys.get(source.name)
        if known is None:
            if source.name in context.words.overrides:
                known = make_key(source.name, {"override": local_tree(context, source.name).components()})
            else:
                known = source_key(source.name, locked(source).hash)
            context.source_keys[source.name] = known
        return known

    return FetchStep(f"fetch_{source.name}", context.layout, key, _elsewhere, context=context, source=source)


def source_key(name: str, hash: str) -> Key:
    """Return the key of the item that holds a source's tree."""
    return make_key(name, {"source tree": hash})


def source_hash(context: Context, name: str) -> str | None:
    """Return the tree hash of a source, for the keys of what is made from it, without fetching anything.

    None for a local override that is not in the store yet. Raises ``BenchError`` for a source that is not locked.
    """
    source = context.model.sources[name]
    if name not in context.words.overrides:
        return locked(source).hash
    item = fetch_step(context, source).item()
    return item.hash if item else None


def source_tree(context: Context, name: str) -> Path | None:
    """Return the tree of a source, read-only; None while it is not fetched."""
    item = fetch_step(context, context.model.sources[name]).item()
    return item.tree if item else None


def unavailable(context: Context, name: str) -> str | None:
    """Return why a source is out of reach, if that was found out and nothing has changed since; else None.

    This looks at the record alone: a source may be out of reach and in the store.
    """
    if name in context.words.overrides:
        return None
    record = availability.read(records(context), f"source-{name}")
    if record is None or record.ok or dict(record.seen) != _seen(context.model.sources[name]):
        return None
    return f"{record.reason} (tried {record.tried_at})"


def forget(context: Context, name: str) -> None:
    """Forget that a source was out of reach."""
    (records(context) / f"source-{name}.json").unlink(missing_ok=True)


def locked(source: Source) -> Locked:
    """Return what the lock says of a source. Raises ``BenchError`` when that is nothing, or about another reference."""
    hint = f"./bench lock {source.name}"
    if source.locked is None:
        raise BenchError(f"{source.location}: {source.name} is not locked: its content is not known yet", hint=hint)
    if source.locked.reference != source.reference:
        message = f"{source.location}: {source.name} is {source.reference} here, but locked is {source.locked.reference}"
        raise BenchError(message, hint=hint)
    return source.locked


def pin_of(origin: Origin, locked: Locked) -> Origin | None:
    """Return the pin that belongs to an origin of the spec, None when it has none.

    A SHA-256 in the spec is its author's statement of what is right: a pin with another one is none of this origin.
    """
    wanted = {**origin.at(locked.reference)}
    for pin in locked.pins:
        fields = {name: value for name, value in pin.fields.items() if name in wanted or name not in ("sha256", "commit")}
        if pin.method == origin.method and fields == wanted:
            return pin
    return None


def origin_name(origin: Origin, reference: str) -> str:
    """Return how an origin is called in messages."""
    fields = origin.at(reference)
    return f"{origin.method} {fields.get('url') or fields['file']}"


def local_tree(context: Context, name: str) -> Any:
    """Return the local tree that stands in for a source (``bpfbench.fetch.local.Local``)."""
    from bpfbench.fetch.local import look

    path = Path(context.words.overrides[name])
    return look(path, context.layout.state / "overrides" / f"{name}.json")


def records(context: Context) -> Path:
    """Return where it is recorded what is out of reach."""
    return context.layout.store / availability.FOLDER


def tools_for(context: Context, name: str, progress: Any, *, again: bool) -> Tools:
    """Return what methods work with, for one source. With ``again`` hosts recorded as out of reach are tried."""
    from bpfbench.fetch.reach import Reach
    from bpfbench.fetch.tools import Tools

    state = context.layout.state
    return Tools(
        context.mark, state / "logs" / name, state / "downloads", state / "fetch", context.layout.work / name,
        progress, Reach(records(context), again=again),
    )  # fmt: skip


def _seen(source: Source) -> dict[str, Any]:
    """Return what decides whether a source can be had: when it changes, it is tried again."""
    from bpfbench.fetch.reach import network

    pins = source.locked.pins if source.locked else ()
    origins = [[origin.method, dict(origin.fields)] for origin in (*source.origins, *pins)]
    text = json.dumps([source.reference, origins], sort_keys=True)
    return {"origins": hashlib.sha256(text.encode()).hexdigest()[:16], "network": network()}


def _elsewhere(tree: Path, progress: Progress) -> None:
    raise AssertionError("a source is realised from its origins")
