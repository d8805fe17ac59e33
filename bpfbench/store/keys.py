"""A key names a thing by everything that can change it, so that an equal key means an equal thing."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from bpfbench.errors import BenchError

FORMAT = 1
"""Part of every key: raise it when the meaning of components or the form of items changes."""

ID = re.compile(r"[0-9a-f]{32}-[A-Za-z0-9][A-Za-z0-9._+-]{0,149}", re.ASCII)
"""What an item id looks like; it is also the name of the item's directory."""

Json = Any
"""None, bool, int, finite float, str, and lists and string-keyed dicts of these."""


@dataclass(frozen=True, slots=True)
class Key:
    """The name of a thing that is, or could be, in the store.

    ``digest`` is the SHA-256 (hex) over ``name``, ``components`` and the key format. ``components`` is kept
    for people: it takes no part in comparisons.
    """

    name: str
    digest: str
    components: Mapping[str, Json] = field(compare=False, repr=False)

    @property
    def id(self) -> str:
        """The item id: the first 128 bits of the digest, and the name for people's eyes."""
        return f"{self.digest[:32]}-{self.name}"


@dataclass(frozen=True, slots=True)
class Change:
    """One component that differs. ``path`` is dotted; None stands for *absent*."""

    path: str
    before: Json
    after: Json


def make_key(name: str, components: Mapping[str, Json]) -> Key:
    """Return the key of ``components``; neither the order of mappings nor list-or-tuple matters.

    Raises BenchError for an unusable name or a component that has no stable JSON form.
    """
    plain_components = plain(components, name)
    text = canonical({"components": plain_components, "format": FORMAT, "name": name})
    key = Key(name, hashlib.sha256(text).hexdigest(), plain_components)
    if not ID.fullmatch(key.id):
        raise BenchError(
            f"{name!r} cannot name a store item",
            hint="use 1 to 150 of: letters, digits, and (not first) '.', '_', '+', '-'",
        )
    return key


def canonical(value: Json) -> bytes:
    """Return the one JSON text of a plain value: sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def plain(value: Json, where: str) -> Json:
    """Return a deep copy of ``value`` made of JSON's own types; ``where`` is its dotted path, for errors."""
    # Exact types: a subclass (an enum, numpy's float64) prints in its own way, perhaps another one tomorrow.
    if value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value)):
        return value
    if isinstance(value, Mapping):
        for name in value:
            if not isinstance(name, str):
                raise BenchError(f"{where} has the key {name!r}, which is no string")
        return {str(name): plain(item, f"{where}.{name}") for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise BenchError(f"{where} is {value!r} ({type(value).__name__}), which has no stable JSON form")


def changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> list[Change]:
    """Return what differs between the components of two keys, ordered by path; lists are compared whole."""
    return list(_changes(before, after, ""))


def _changes(before: Mapping[str, Json], after: Mapping[str, Json], prefix: str) -> Iterator[Change]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _changes(old, new, f"{prefix}{name}.")
        elif (name in before) != (name in after) or canonical(old) != canonical(new):
            yield Change(f"{prefix}{name}", old, new)
