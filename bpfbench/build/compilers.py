"""Compilers as third-party builds see them: the machine's own, told not to mention where they work.

Every build system takes flags in another way, and some of them drop what they are given in some corner. A
small script of the compiler's name, first on PATH, reaches all of them.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

FLAGS = ("-ffile-prefix-map=$BENCH_SCRATCH=.", "-gno-record-gcc-switches", "-Wl,--build-id=none")
"""Given to every call, before its own flags: no output names the build's directory."""
_ALIASES = {"gcc": ("gcc", "cc"), "g++": ("g++", "c++")}


def wrap(directory: Path, tools: Mapping[str, str]) -> None:
    """Make ``directory`` with a script for each compiler among ``tools`` (name → real program)."""
    directory.mkdir()
    flags = " ".join(f'"{flag}"' for flag in FLAGS)
    for name, program in tools.items():
        for alias in _ALIASES.get(name, ()):
            script = directory / alias
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(program)} {flags} "$@"\n')
            script.chmod(0o755)
