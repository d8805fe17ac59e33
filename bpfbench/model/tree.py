"""Which files make up the specs. Imports next to nothing: this runs at every start."""

from __future__ import annotations

import os
from collections.abc import Iterator

from bpfbench.errors import BenchError
from bpfbench.layout import Layout

FOLDERS = {
    "sources": "source", "packages": "package", "runtimes": "runtime", "experiments": "experiment", "published": "published",
}
"""Folder of specs/ → what one file in it describes; also the name of its schema."""
SINGLES = {"profiles.yaml": "profiles", "system.yaml": "system"}
"""Files of specs/ that stand alone → their schema."""
LOCK = "vendor/sources.lock.json"
"""What ``doit lock`` writes: part of what the specs say, and checked like a spec; may be missing."""
SCHEMAS = (*FOLDERS.values(), *SINGLES.values(), "lock")

_LOOKALIKES = tuple(name.removesuffix("s") for name in FOLDERS if name.endswith("s"))

Stamp = list[int]
"""Size, modification time, inode, change time: equal means unchanged."""


def spec_files(layout: Layout) -> dict[str, Stamp]:
    """Return every spec and schema file, as a path relative to the checkout, with its stamp; sorted.

    What only looks like a spec is among them: see ``stray``.
    """
    root = str(layout.root)
    files = dict(_files(f"{root}/specs", "specs/", (".yaml", ".yml", *_LOOKALIKES)))
    for folder in FOLDERS:
        files.update(_files(f"{root}/specs/{folder}", f"specs/{folder}/", (".yaml", ".yml")))
    files.update(_files(f"{root}/schemas", "schemas/", (".json",)))
    folder, _, name = LOCK.rpartition("/")
    files.update(_files(f"{root}/{folder}", f"{folder}/", (name,)))
    return dict(sorted(files.items()))


def code_files() -> dict[str, Stamp]:
    """Return the modules that make the model, by file name, with their stamps; sorted."""
    return dict(sorted(_files(os.path.dirname(__file__), "", (".py",))))  # noqa: PTH120


def stray(path: str) -> str | None:
    """Say what to do about something below specs/ that nobody reads; None for specs and schemas."""
    folder, _, name = path.removeprefix("specs/").rpartition("/")
    if not path.startswith("specs/") or (name.endswith(".yaml") and (folder or name in SINGLES)):
        return None
    if not folder and name in _LOOKALIKES:
        return f"call the folder specs/{name}s"
    if name.endswith(".yml"):
        return f"call it {path.removesuffix('.yml')}.yaml"
    return "the files here are " + " and ".join(SINGLES) + "; all else belongs in " + ", ".join(FOLDERS)


def _files(folder: str, prefix: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, Stamp]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        message = f"the folder {folder} cannot be read: {error.strerror}"
        raise BenchError(message, hint="look at its permissions") from error
    with entries:
        for entry in entries:
            name = entry.name
            if name.endswith(suffixes) and not name.startswith("."):
                try:
                    stat = entry.stat()
                except OSError:
                    # A dangling link: reading it will say what is wrong.
                    yield prefix + name, [-1, 0, 0, 0]
                else:
                    yield prefix + name, [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]
