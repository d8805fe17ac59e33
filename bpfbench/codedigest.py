"""The identity of our own Python code, as part of keys: what it *does*, not how it is laid out or commented.

A module's digest is that of its syntax tree without docstrings, so that mending a comment never measures or draws anything
again. Digests are remembered by (size, mtime, ctime, inode); the memory is a cache and can be deleted at any time.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from bpfbench.store.files import write_cache

PACKAGE = Path(__file__).parent
_Stat = list[int]


class CodeDigests:
    """Digests of modules of this package, by path relative to it (``measure/loop.py``) or by folder (``process``)."""

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known: dict[str, tuple[_Stat, str]] = _load(cache)
        self._changed = False

    def of(self, places: Iterable[str]) -> dict[str, str]:
        """Return path → digest for every module at ``places``; a folder stands for all modules below it."""
        found: dict[str, str] = {}
        for place in places:
            path = PACKAGE / place
            files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
            for file in files:
                found[file.relative_to(PACKAGE).as_posix()] = self._digest(file)
        self._save()
        return found

    def _digest(self, file: Path) -> str:
        info = file.stat()
        seen = [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]
        known = self._known.get(str(file))
        if known and known[0] == seen:
            return known[1]
        digest = digest_of(file.read_text("utf-8"))
        self._known[str(file)] = (seen, digest)
        self._changed = True
        return digest

    def _save(self) -> None:
        if not self._changed:
            return
        # A cache that cannot be written (read-only checkout) costs time, nothing else.
        write_cache(self._cache, json.dumps(self._known).encode())
        self._changed = False


def own_files() -> list[str]:
    """Return the path of every module of this package."""
    return sorted(f"{folder}/{name}" for folder, _, names in os.walk(PACKAGE) for name in names if name.endswith(".py"))


def digest_of(source: str) -> str:
    """Return the hex digest of Python source: the same for sources that differ in comments, docstrings or layout only."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body[0] = ast.copy_location(ast.Pass(), body[0])
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _load(cache: Path) -> dict[str, tuple[_Stat, str]]:
    try:
        raw = json.loads(cache.read_text())
        return {name: (list(entry[0]), str(entry[1])) for name, entry in raw.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError):
        return {}
