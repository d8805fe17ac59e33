"""What a source's reference means: found out from its origins, compared with the lock, and written there.

The spec says what people want: a reference, where it can be had, and perhaps a SHA-256 that the project publishes. The lock says what
that is: the revision, the tree hash, and what pins each origin. Nothing but ``doit lock`` writes it; what is different
under an unchanged name is shown and refused, since that is what a broken or hostile origin looks like.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.fetching import forget, origin_name, pin_of, source_key, tools_for
from bpfbench.model.tree import LOCK
from bpfbench.model.types import Locked, Origin, Source, Submodule
from bpfbench.store import tree as trees
from bpfbench.store.files import write_atomic
from bpfbench.store.store import Store

if TYPE_CHECKING:
    from bpfbench.context import Context
    from bpfbench.fetch.tools import Note, Tools

VERSION = 1
_REFERENCE = re.compile(r"""^reference:[ \t]*("[^"\n]*"|'[^'\n]*'|[^\s#]+)""", re.MULTILINE)
_Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What one origin gave."""

    origin: Origin
    revision: str
    pin: _Plain
    submodules: Mapping[str, _Plain]
    hash: str
    tree: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """A source as it is locked now. ``notes``: origins that could not be had, and why."""

    source: Source
    before: Locked | None
    now: Locked
    notes: tuple[str, ...]

    @property
    def changed(self) -> bool:
        """Whether the lock is to be written."""
        return self.before != self.now

    def lines(self) -> Iterator[str]:
        """Say what is different, for people."""
        name, before, now = self.source.name, self.before, self.now
        if before is None:
            yield f"{name}: locked at {now.reference}"
            yield f"  revision {now.revision}"
            yield f"  hash     {now.hash}"
        elif not self.changed:
            yield f"{name}: unchanged, {now.reference}"
        else:
            yield f"{name}: {before.reference} → {now.reference}" if before.reference != now.reference else f"{name}: {now.reference}"
            if before.revision != now.revision:
                yield f"  revision {before.revision} → {now.revision}"
            if before.hash != now.hash:
                yield f"  hash     {before.hash}\n         → {now.hash}"
        if self.changed:
            yield from _difference("pin", _pins(before) if before else {}, _pins(now))
            yield from _difference("submodule", _modules(before) if before else {}, _modules(now))
        yield from (f"  {note}" for note in self.notes)


def lock(context: Context, source: Source, to: str | None, progress: Note, *, accept: bool = False) -> Outcome:
    """Find out what a source is now, put its tree into the store, and write the lock.

    ``to`` is a reference in place of the spec's, which is then written into the spec. With ``accept``, other content under
    an unchanged reference and revision is taken. Raises ``BenchError`` when no origin can be had, when two disagree, or when
    content has changed unasked; the lock and the spec are what they were then.
    """
    wanted = replace(source, reference=to or source.reference)
    root = context.layout.root
    spec = _respelled(root, source, wanted.reference)
    with tools_for(context, f"lock_{source.name}", progress, again=True) as tools:
        found, out_of_reach = _look(wanted, tools)
        if not found:
            told = "".join(f"\n    {reason}" for reason in out_of_reach.values())
            raise BenchError(f"{source.name}: no origin is in reach:{told}")
        _agree(source.name, found)
        now = _locked(wanted, found, out_of_reach)
        _unsuspicious(source, now, accept)
        _keep(context, source.name, found[0])
    outcome = Outcome(wanted, source.locked, now, tuple(out_of_reach.values()))
    if outcome.changed:
        write(root, {source.name: now})
    if spec is not None:
        write_atomic(root / source.location.file, spec)
    forget(context, source.name)
    return outcome


def write(root: Path, changes: Mapping[str, Locked | None]) -> None:
    """Put entries into the lock (None: take out), leaving all others as they are."""
    path = root / LOCK
    try:
        sources = json.loads(path.read_bytes())["sources"]
    except FileNotFoundError:
        sources = {}
    for name, locked in changes.items():
        sources.pop(name, None)
        if locked:
            sources[name] = _plain(locked)
    text = json.dumps({"version": VERSION, "sources": dict(sorted(sources.items()))}, indent=1, ensure_ascii=False)
    try:
        write_atomic(path, text.encode() + b"\n")
    except OSError as error:
        raise BenchError(f"{path} cannot be written: {error.strerror}") from error


def _look(source: Source, tools: Tools) -> tuple[list[Found], dict[int, str]]:
    """Try every origin; return what was found, and by the origin's number why another could not be had."""
    from bpfbench.fetch.errors import Unavailable
    from bpfbench.fetch.git import hashes
    from bpfbench.store.nar import nar_hash

    found, failed = [], {}
    for number, origin in enumerate(source.origins):
        tree = tools.place("tree")
        method = importlib.import_module(f"bpfbench.fetch.{origin.method}")
        try:
            obtained = method.obtain(origin.at(source.reference), source.reference, tree, tools)
        except Unavailable as error:
            failed[number] = f"{origin_name(origin, source.reference)}: {error.message}"
            continue
        tools.progress("hashing the tree")
        modules = hashes(tree, obtained.submodules)
        submodules = {path: {**module, "hash": modules[path]} for path, module in obtained.submodules.items()}
        found.append(Found(origin, obtained.revision, obtained.pin, submodules, nar_hash(tree), tree))
    return found, failed


def _agree(name: str, found: list[Found]) -> None:
    if len({one.hash for one in found}) > 1:
        told = "".join(f"\n    {one.hash}  {origin_name(one.origin, one.revision)}" for one in found)
        hint = "they are not one source: take all but one out of the spec"
        raise BenchError(f"{name}: its origins have different trees:{told}", hint=hint)


def _locked(source: Source, found: list[Found], out_of_reach: dict[int, str]) -> Locked:
    """Put together what was found, and what is known of origins that could not be had.

    Such an origin is pinned when the file that the spec says it has was had from another one, or when it was
    pinned before and the tree has not changed. Its note goes then.
    """
    first = next((one for one in found if one.origin.method == "git"), found[0])
    reference, before = source.reference, source.locked
    files = {(one.pin.get("sha256"), _strip(one.origin)) for one in found if "sha256" in one.pin}
    same = before is not None and (before.reference, before.hash) == (reference, first.hash)
    by_number = {source.origins.index(one.origin): one for one in found}
    pins = []
    for number, origin in enumerate(source.origins):
        fields = origin.at(reference)
        if number in by_number:
            pins.append(Origin(origin.method, {**fields, **by_number[number].pin}))
        elif (fields.get("sha256"), _strip(origin)) in files and "sha256" in fields:
            pins.append(Origin(origin.method, fields))
            out_of_reach[number] += " (pinned: another origin has the same file)"
        elif same and before and (known := pin_of(origin, before)):
            pins.append(known)
            out_of_reach[number] += " (stays pinned as it was)"
        else:
            out_of_reach[number] += " (not pinned)"
    modules = tuple(Submodule(path, **module) for path, module in sorted(first.submodules.items()))
    return Locked(reference, first.revision, first.hash, tuple(pins), modules)


def _strip(origin: Origin) -> int:
    wheel = str(origin.fields.get("file", "")).endswith(".whl")
    return int(origin.fields.get("strip", 0 if wheel else 1))


def _unsuspicious(source: Source, now: Locked, accept: bool) -> None:
    before = source.locked
    if before is None or accept or (before.reference, before.revision) != (now.reference, now.revision):
        return
    if before.hash != now.hash:
        raise BenchError(
            f"{source.name}: {now.reference} has other content than when it was locked\n"
            f"      expected {before.hash}\n      got      {now.hash}",
            hint=f"find out why; if the new content is right: ./bench lock {source.name} --accept",
        )


def _keep(context: Context, name: str, found: Found) -> None:
    """Put the tree that was just looked at into the store: `fetch` has nothing to do then."""
    import shutil

    def make(tree: Path) -> _Plain:
        tree.rmdir()
        try:
            found.tree.rename(tree)
        except OSError:  # another disk
            shutil.copytree(found.tree, tree, symlinks=True)
            trees.delete(found.tree)
        return {"origin": origin_name(found.origin, found.revision), "revision": found.revision}

    Store(context.layout.store).realise(source_key(name, found.hash), make, expected_hash=found.hash)


def _respelled(root: Path, source: Source, reference: str) -> bytes | None:
    """Return a spec with another reference in the place of its own and nothing else changed; None if it is the same."""
    if reference == source.reference:
        return None
    text = (root / source.location.file).read_text("utf-8")
    changed, count = _REFERENCE.subn(f"reference: {json.dumps(reference)}", text)
    if count != 1:
        hint = f'write this line into it: reference: "{reference}"'
        raise BenchError(f"{source.location.file}: its line with the reference cannot be found", hint=hint)
    return changed.encode()


def _plain(locked: Locked) -> dict[str, Any]:
    plain: dict[str, Any] = {"reference": locked.reference, "revision": locked.revision, "hash": locked.hash}
    plain["pins"] = [{"method": pin.method, **pin.fields} for pin in locked.pins]
    if locked.submodules:
        plain["submodules"] = {m.path: {"url": m.url, "commit": m.commit, "hash": m.hash} for m in locked.submodules}
    return plain


def _pins(locked: Locked) -> dict[str, str]:
    return {
        origin_name(pin, locked.reference): str(pin.fields.get("sha256") or pin.fields.get("commit")) for pin in locked.pins
    }


def _modules(locked: Locked) -> dict[str, str]:
    return {module.path: module.commit for module in locked.submodules}


def _difference(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if old is None:
            yield f"  {what} {name}: {new}"
        elif new is None:
            yield f"  {what} {name}: gone"
        elif old != new:
            yield f"  {what} {name}: {old} → {new}"
