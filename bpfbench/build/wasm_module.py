"""WebAssembly modules: clang --target=wasm32, one source a module, linked by LLVM's own linker."""

from __future__ import annotations

from bpfbench.build.bpf_object import WARNINGS
from bpfbench.build.steps import Step
from bpfbench.errors import BenchError
from bpfbench.model.types import Artefact

LINK = ("-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all")


def steps(artefact: Artefact) -> tuple[Step, ...]:
    """Return the one call that makes the module. Raises ``BenchError`` for anything but one source."""
    if len(artefact.sources) != 1:
        raise BenchError(
            f"{artefact.output}: a WebAssembly module has exactly one source, not {len(artefact.sources)}",
            hint="make one artefact of each source",
        )
    options = (
        "--target=wasm32", "-std=gnu11", "-O2", "-ffreestanding", *WARNINGS, "-ffile-prefix-map={root}=.",
        *(f"-I{place}" for place in artefact.includes), *artefact.flags,
    )  # fmt: skip
    listing = f"{artefact.output.replace('/', '_')}.d"
    output = f"{{tree}}/{artefact.output}"
    argv = (*options, *LINK, "-MD", "-MF", f"{{build}}/{listing}", artefact.sources[0], "-o", output)
    return (Step("clang", argv, "compile", artefact.sources, output, listing, options),)
