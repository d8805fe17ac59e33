"""Builds shim.so and agent.so as their package spec says, but with sanitizers in all that is not hook/."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bpfbench.model.types import Artefact, Package

from .compile import ROOT

FLAGS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer")

OPTIONS = """
/* The sanitizers' runtime is not the first library; faults belong to the runtime and the target; what lives to the end, may. */
__attribute__((visibility("default"), used)) const char *__asan_default_options(void)
{
	return "verify_asan_link_order=0:handle_segv=0:handle_sigbus=0:allow_user_segv_handler=1:detect_leaks=0:"
		"detect_stack_use_after_return=0";
}
"""


def _objects(artefact: Artefact, tree: Path, made: dict[Path, Path]) -> list[Path]:
    """Compile each source by itself, since not all get the same options, and once: both libraries have the same."""
    options = tree / "options.c"
    options.write_text(OPTIONS)
    flags = [flag for flag in artefact.flags if not flag.startswith("-Wl,")]
    includes = [f"-I{ROOT / include}" for include in artefact.includes]
    sources = [*(ROOT / name for name in artefact.sources), options]
    for source in sources:
        made.setdefault(source, tree / f"{len(made)}.o")

    def compile_one(source: Path) -> None:
        mine = () if "hook" in source.parts or source.suffix == ".S" else FLAGS
        argv = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fPIC", *flags, *mine, *includes]
        subprocess.run([*argv, "-c", source, "-o", made[source]], check=True)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_one, (source for source in sources if not made[source].exists())))
    return [made[source] for source in sources]


def build(package: Package, plain: Path, tree: Path) -> Path:
    """Make the tree; what is no library is copied from the plain one."""
    made: dict[Path, Path] = {}
    for artefact in package.artefacts:
        if artefact.kind != "shared-library":
            shutil.copy2(plain / artefact.output, tree)
            continue
        linking = [flag for flag in artefact.flags if flag.startswith("-Wl,")]
        libraries = [f"-l{name}" for name in artefact.libraries]
        objects = map(str, _objects(artefact, tree, made))
        argv = ["gcc", "-shared", "-fsanitize=address,undefined", *linking, *objects]
        subprocess.run([*argv, "-o", str(tree / artefact.output), *libraries], check=True)
    return tree
