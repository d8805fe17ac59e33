"""Small packages of others, as recipes see them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bpfbench.model.types import Location, Package, Requirement

HERE = Location("specs/packages/thing.yaml", 1, 1)
C = "#include <stdio.h>\nint main(void)\n{\n\tputs(WORD);\n\treturn 0;\n}\n"
NAMES = {
    "make": {
        "Makefile": "CFLAGS = -O2 -g\nmain: main.o\n\t$(CC) -o $@ $^\n"
        "%.o: %.c\n\t$(CC) $(CFLAGS) -DWORD='$(WORD)' -c -o $@ $<\n"
    },
    "configure": {
        "configure": '#!/bin/sh\necho "WORD = $1" > Makefile\ncat rules >> Makefile\n',
        "rules": "main: main.c\n\tgcc -g -DWORD='$(WORD)' -o $@ main.c\n",
    },
    "cmake": {
        "CMakeLists.txt": "cmake_minimum_required(VERSION 3.16)\nproject(thing C)\n"
        "add_executable(main main.c)\n"
        "target_compile_definitions(main PRIVATE WORD=${WORD})\n"
    },
    "meson": {
        "meson.build": "project('thing', 'c')\n"
        "executable('main', 'main.c', c_args: ['-DWORD=' + get_option('word')])\n",
        "meson_options.txt": "option('word', type: 'string')\n",
    },
}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "make": {"arguments": ['WORD="hello"'], "outputs": {"bin/main": "thing/main"}},
    "configure": {"configure": ['"hello"'], "outputs": {"bin/main": "thing/main"}},
    "cmake": {"define": {"WORD": '"hello"'}, "outputs": {"bin/main": "work/main"}},
    "meson": {"define": {"word": '"hello"'}, "outputs": {"bin/main": "work/main"}},
}
NEEDS = {
    "make": ["make"],
    "configure": ["make"],
    "cmake": ["cmake", "ninja"],
    "meson": ["meson", "ninja", "pkg-config"],
}


def source(recipe: str, place: Path, **more: str) -> Path:
    """Write the sources of a program that is built by ``recipe``, and close them as the store does."""
    place.mkdir(parents=True)
    for name, text in {"main.c": C, **NAMES[recipe], **more}.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o555 if name == "configure" else 0o444)
    return place


def package(recipe: str, **options: Any) -> Package:
    """Return the package of that program."""
    return Package(
        "thing", "A thing", recipe, HERE, sources=("thing",), options={**OPTIONS[recipe], **options}
    )


def requirement(*packages: str) -> Requirement:
    """Return a requirement that these Debian packages bring."""
    return Requirement("something", "for a test", {"debian": packages}, command="true")
