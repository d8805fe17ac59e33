"""A build as a list of compiler calls, written down before anything runs: it is part of the key, word for
word.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Place = Literal["root", "build"]


@dataclass(frozen=True, slots=True)
class Step:
    """One compiler call.

    ``argv`` is without the program and may use ``{root}`` (the checkout), ``{build}`` (a scratch directory),
    ``{tree}`` (where the package's output goes) and ``{package:NAME}`` (a dependency's output). Paths
    are relative to the directory that the call is made in wherever that is possible, so that the output cannot
    depend on where the checkout is.
    """

    tool: str
    argv: tuple[str, ...]
    kind: Literal["compile", "link"]
    sources: tuple[str, ...]
    """Repository-relative sources (compile); objects below ``{build}`` (link)."""
    output: str
    """With its placeholder."""
    listing: str
    """Below ``{build}``: the Makefile fragment in which the compiler lists the files that it has read."""
    options: tuple[str, ...]
    """What of ``argv`` decides which files are read: used to find them out beforehand."""

    @property
    def cwd(self) -> Place:
        """Where the call is made: sources are named from the checkout, objects from the scratch directory."""
        return "root" if self.kind == "compile" else "build"

    def command(self, program: str, places: Mapping[str, Path]) -> list[str]:
        """Return the complete command with placeholders filled in."""
        return [program, *fill(self.argv, places)]

    def written(self) -> dict[str, object]:
        """Return the step as it goes into a key."""
        return {"tool": self.tool, "argv": list(self.argv), "in": self.cwd}

    def repeat(self, program: str, places: Mapping[str, Path]) -> str:
        """Return a line for the shell that makes the compiler say again what it said."""
        words = [program, *fill(self.options, places)]
        if self.kind == "compile":
            words += ["-c", *self.sources, "-o", "/dev/null"]
        return f"cd {shlex.quote(str(places[self.cwd]))} && {shlex.join(words)}"


def fill(words: tuple[str, ...], places: Mapping[str, Path]) -> list[str]:
    """Replace the names of ``places`` in braces; other braces are the compiler's own."""
    filled = []
    for word in words:
        text = word
        for name, place in places.items():
            text = text.replace(f"{{{name}}}", str(place))
        filled.append(text)
    return filled
