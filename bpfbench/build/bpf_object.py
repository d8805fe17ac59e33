"""BPF objects: clang -target bpf, one source an object."""

from __future__ import annotations

import os

from bpfbench.build.steps import Step
from bpfbench.errors import BenchError
from bpfbench.model.types import Artefact

WARNINGS = ("-Wall", "-Wextra", "-Werror")
_TARGET_ARCH = {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390"}
"""Machine → the name that BPF headers know it by."""


def steps(artefact: Artefact) -> tuple[Step, ...]:
    """Return the one call that makes the object. Raises ``BenchError`` for anything but one source."""
    if len(artefact.sources) != 1:
        raise BenchError(
            f"{artefact.output}: a BPF object has exactly one source, not {len(artefact.sources)}",
            hint="make one artefact of each source",
        )
    options = (
        "-target", "bpf", f"-D__TARGET_ARCH_{_target_arch()}",
        # -g is not for debuggers: maps, globals and programs are described by the BTF that is made from it
        "-std=gnu11", "-O2", "-g", *WARNINGS, "-ffile-prefix-map={root}=.",
        *(f"-I{place}" for place in artefact.includes), *artefact.flags,
    )
    listing = f"{artefact.output.replace('/', '_')}.d"
    source, output = artefact.sources[0], f"{{tree}}/{artefact.output}"
    argv = (*options, "-MD", "-MF", f"{{build}}/{listing}", "-c", source, "-o", output)
    return (Step("clang", argv, "compile", artefact.sources, output, listing, options),)


def _target_arch() -> str:
    machine = os.uname().machine
    if machine not in _TARGET_ARCH:
        raise BenchError(f"BPF headers have no name for the machine {machine}")
    return _TARGET_ARCH[machine]
