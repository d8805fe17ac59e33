"""Durations, sizes and reasons for people."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO


def duration(seconds: float) -> str:
    """Return seconds as ``0.4 s``, ``12 s``, ``3 min 05 s`` or ``2 h 10 min``."""
    if seconds < 9.95:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Return bytes as ``812 B``, ``3.4 MiB`` and so on."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1023.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def one_line(text: str) -> str:
    """Return ``text`` in one line, without anything that a terminal would act on."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def shortened(text: str, columns: int) -> str:
    """Return ``text`` cut to that many columns, marked where it was cut."""
    return text if len(text) <= columns else text[: columns - 1] + "…"


def without_middle(text: str, most: int) -> str:
    """Return ``text`` in at most so many letters: of a long reason the beginning says what, and the end why."""
    return text if len(text) <= most else f"{text[: most * 2 // 3 - 3]} … {text[-(most // 3) :]}"


def shortest(path: Path, standing: Path) -> str:
    """Return ``path`` as one would type it in ``standing``: relative where that is shorter."""
    return min(str(path), os.path.relpath(path, standing), key=len)


def counted(count: int, noun: str) -> str:
    """Return ``1 task``, ``2 tasks``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def takes_escapes(out: TextIO, environment: Mapping[str, str] | None = None) -> bool:
    """Whether ``out`` is a terminal on which lines can be redrawn."""
    environment = os.environ if environment is None else environment
    return out.isatty() and environment.get("TERM", "dumb") != "dumb"


def takes_colour(out: TextIO, environment: Mapping[str, str] | None = None) -> bool:
    """Whether to colour what goes to ``out``: a terminal, and nobody said NO_COLOR (https://no-color.org)."""
    environment = os.environ if environment is None else environment
    return takes_escapes(out, environment) and not environment.get("NO_COLOR")
