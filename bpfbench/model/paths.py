"""Paths in specs: below the checkout, written in one way only, and there."""

from __future__ import annotations

import os
from pathlib import Path as FilePath

from bpfbench.model.documents import Documents, text
from bpfbench.model.problems import Path, did_you_mean, one_of
from bpfbench.model.yaml import Document


def check_path(documents: Documents, document: Document, path: Path, want: str) -> None:
    """Note a problem unless the text at ``path`` names something in the checkout.

    ``want`` is ``file``, ``directory`` or ``any``.
    """
    name = text(document, path)
    if not name or not check_form(documents, document, path, "checkout"):
        return
    there = documents.root / name
    try:
        real = there.resolve()
        exists, directory = there.exists(), there.is_dir()
    except (OSError, RuntimeError) as error:
        documents.wrong(document, path, f'"{name}" cannot be followed: {error}', "a path below the checkout")
        return
    if not real.is_relative_to(documents.root.resolve()):
        message, hint = f'"{name}" is a link out of the checkout', "copy the file into the checkout"
        documents.wrong(document, path, message, "a path below the checkout", hint)
    elif not exists:
        near = did_you_mean(name, _neighbours(documents.root, name))
        documents.wrong(document, path, f'"{name}" does not exist', f"an existing {_what(want)}", near)
    elif want != "any" and directory != (want == "directory"):
        is_ = "directory" if directory else "file"
        documents.wrong(document, path, f'"{name}" is a {is_}', f"a {want}")
    else:
        documents.paths[name] = os.path.relpath(real, documents.root.resolve())


def check_form(documents: Documents, document: Document, path: Path, base: str) -> bool:
    """Note a problem unless the text at ``path`` is a plain relative path; True if it is."""
    name = text(document, path)
    if not name:
        return False
    message, hint = None, None
    steps = name.split("/")
    if name.startswith("/"):
        message = f'"{name}" is an absolute path'
    elif name.startswith("~"):
        message, hint = f'"{name}" starts with ~', "a home directory is not part of the checkout"
    elif ".." in steps:
        message = f'"{name}" has a .. in it'
    elif not name.isprintable() or "\\" in name:
        message = "a path with control characters or backslashes"
    elif "." in steps or "" in steps:
        plain = "/".join(step for step in steps if step not in {".", ""})
        message, hint = f'"{name}" is not in its shortest form', f'write "{plain}"' if plain else None
    if message is None:
        return True
    documents.wrong(document, path, message, f"a path below the {base}, without . and ..", hint)
    return False


def check_module(documents: Documents, document: Document, path: Path, folder: str, what: str) -> None:
    """Note a problem unless the text at ``path`` names a module of ``bpfbench/<folder>``."""
    name = text(document, path)
    if not name or not name.isidentifier():
        return
    module = f"bpfbench/{folder}/{name}.py"
    if (documents.root / module).is_file() and not name.startswith("_"):
        real = (documents.root / module).resolve()
        documents.paths[module] = os.path.relpath(real, documents.root.resolve())
        return
    modules = (documents.root / "bpfbench" / folder).glob("*.py")
    known = {entry.stem for entry in modules if not entry.name.startswith("_")}
    message = f'no {what} is called "{name}": there is no {module}'
    documents.wrong(document, path, message, one_of(known), did_you_mean(name, known))


def _neighbours(root: FilePath, name: str) -> set[str]:
    """Return what lies in the nearest directory above ``name`` that exists."""
    folder = (root / name).parent
    while folder != root and not folder.is_dir():
        folder = folder.parent
    return {str(entry.relative_to(root)) for entry in folder.iterdir()} if folder.is_dir() else set()


def _what(want: str) -> str:
    return "file or directory" if want == "any" else want
