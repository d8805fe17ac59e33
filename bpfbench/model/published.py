"""Published numbers: checked with all other specs, but read by the report alone. No other call of doit needs them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bpfbench.layout import Layout
from bpfbench.model.types import Location, Published, PublishedValue
from bpfbench.model.yaml import parse

FOLDER = "specs/published"


def published_files(layout: Layout) -> list[Path]:
    """Return the files that hold published numbers, sorted."""
    return sorted((layout.root / FOLDER).glob("*.yaml"))


def load_published(layout: Layout) -> list[Published]:
    """Return all publications, by file name. The model must have been loaded: that is where they are checked."""
    found = []
    for path in published_files(layout):
        name = path.relative_to(layout.root).as_posix()
        found.append(_published(parse(path.read_bytes(), name).data, Location(name, 1, 1)))
    return found


def _published(data: Any, location: Location) -> Published:
    told = {name: data.get(name) for name in ("address", "per", "remark")}
    same = {name: data[name] for name in ("title", "experiment", "source", "machine", "date", "confidence", "unit")}
    values = tuple(PublishedValue(**value) for value in data["values"])
    return Published(name=data["published"], values=values, location=location, **same, **told)
