"""Executables and shared libraries in C and assembly: gcc (clang where a library asks for it), one object a source, then one
link.
"""

from __future__ import annotations

from collections.abc import Collection

from bpfbench.build.steps import Step
from bpfbench.build.toolchain import Toolchain
from bpfbench.model.types import Artefact

COMPILE = (
    "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra", "-Werror",
    # command lines name directories of this machine; they have no place in an output
    "-gno-record-gcc-switches", "-ffile-prefix-map={root}=.",
)
"""For every source. Position-independent or not is said per kind below and not left to the distribution's
default.
"""
LINK = ("-Wl,--build-id=none",)

_KINDS = {
    "executable": ("gcc", "-fPIE", "-pie"), "shared-library": ("gcc", "-fPIC", "-shared"),
    "clang-library": ("clang", "-fPIC", "-shared"),
}
"""Kind → by what and how it is compiled, how it is linked."""


def steps(artefact: Artefact, toolchain: Toolchain, static: Collection[str] = ()) -> tuple[Step, ...]:
    """Return the calls that make the program, in order: sources as the spec lists them, then the link.

    Libraries named in ``static`` are linked as archives.
    """
    tool, code, shape = _KINDS[artefact.kind]
    told = toolchain.flags(artefact.config, "--cppflags") if artefact.config else ()
    flags = (*COMPILE, code, *(f"-I{place}" for place in artefact.includes), *told, *artefact.flags)
    objects = tuple(_object(artefact, source) for source in artefact.sources)
    compiles = tuple(_compile(tool, artefact, source, flags) for source in artefact.sources)
    libraries = tuple(f"-l:lib{name}.a" if name in static else f"-l{name}" for name in artefact.libraries)
    if artefact.config:
        libraries += toolchain.flags(artefact.config, "--ldflags", "--libs")
    return (*compiles, _link(tool, artefact, objects, shape, libraries))


def _compile(tool: str, artefact: Artefact, source: str, options: tuple[str, ...]) -> Step:
    output = _object(artefact, source)
    listing = f"{output}.d"
    argv = (*options, "-MD", "-MF", f"{{build}}/{listing}", "-c", source, "-o", f"{{build}}/{output}")
    return Step(tool, argv, "compile", (source,), f"{{build}}/{output}", listing, options)


def _link(tool: str, artefact: Artefact, objects: tuple[str, ...], shape: str, libraries: tuple[str, ...]) -> Step:
    listing = f"{_flat(artefact.output)}.link.d"
    output = f"{{tree}}/{artefact.output}"
    options = (shape, *LINK, *artefact.flags, *libraries)
    # Objects are named relative to the scratch directory: the linker writes the names of some into the
    # symbol table.
    argv = (
        shape, *LINK, *artefact.flags, f"-Wl,--dependency-file={listing}", *objects, *libraries, "-o", output,
    )
    return Step(tool, argv, "link", objects, output, listing, options)


def _object(artefact: Artefact, source: str) -> str:
    return f"{_flat(artefact.output)}.{_flat(source)}.o"


def _flat(path: str) -> str:
    return path.replace("/", "_")
