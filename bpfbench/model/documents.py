"""All documents of a checkout as they were read, before anybody asks what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from bpfbench.model.problems import Path, SpecProblem, did_you_mean, field_name, one_of
from bpfbench.model.tree import FOLDERS
from bpfbench.model.yaml import Document


@dataclass
class Documents:
    """What was read, and what has been found wrong so far.

    A document may break its schema and still be here, so that everything that is wrong can be told at
    once. Whoever looks into it must therefore expect any type anywhere; ``texts``, ``mappings`` and
    ``text`` skip what has the wrong one.
    """

    root: FilePath
    by_kind: dict[str, dict[str, Document]] = field(
        default_factory=lambda: {kind: {} for kind in FOLDERS.values()}
    )
    """Kind → name of the file without its suffix → document; no entry where the file is no YAML."""
    known: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in FOLDERS.values()})
    """Kind → names that may be referred to, including those of files that could not be read."""
    profiles: Document | None = None
    system: Document | None = None
    lock: Document | None = None
    """vendor/sources.lock.json; None where nothing has been locked yet."""
    problems: list[SpecProblem] = field(default_factory=list)
    paths: dict[str, str] = field(default_factory=dict)
    """Existing paths that specs name → where they really are; both relative to the checkout."""

    def wrong(
        self,
        document: Document,
        path: Path,
        message: str,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Note a problem with the value at ``path``."""
        at = document.value(path)
        self.problems.append(SpecProblem(at, field_name(path), message, expected, hint))

    def wrong_key(
        self,
        document: Document,
        path: Path,
        message: str,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Note a problem with the key of the value at ``path``."""
        self.problems.append(SpecProblem(document.key(path), field_name(path), message, expected, hint))

    def refer(self, document: Document, path: Path, kind: str, known: set[str]) -> None:
        """Note a problem unless the text at ``path`` is one of the ``known`` names of ``kind``."""
        name = text(document, path)
        if name is not None and name not in known:
            message = f'no {kind} is called "{name}"'
            self.wrong(document, path, message, one_of(known), did_you_mean(name, known))

    def refer_all(self, document: Document, path: Path, kind: str, known: set[str]) -> None:
        """Do as ``refer`` for every item of the list at ``path``."""
        for inside, _ in texts(document, path):
            self.refer(document, inside, kind, known)

    def once(self, document: Document, paths: list[Path], what: str) -> None:
        """Note a problem for every text among those at ``paths`` that an earlier one has already."""
        first: dict[str, Path] = {}
        for path in paths:
            name = text(document, path)
            if name is None:
                continue
            if name in first:
                hint = f"the first is at {document.value(first[name])}"
                self.wrong(document, path, f'two {what} are called "{name}"', "every name once", hint)
            else:
                first[name] = path


def text(document: Document, path: Path) -> str | None:
    """Return the text at ``path``, or None where there is none."""
    value = document.get(path)
    return value if isinstance(value, str) else None


def texts(document: Document, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield those items of the list at ``path`` that are text."""
    items = document.get(path)
    for index, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, str):
            yield (*path, index), item


def mappings(document: Document, path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield those items of the list, or values of the mapping, at ``path`` that are mappings."""
    items = document.get(path)
    pairs = enumerate(items) if isinstance(items, list) else items.items() if isinstance(items, dict) else ()
    for step, item in pairs:
        if isinstance(item, dict):
            yield (*path, step), item
