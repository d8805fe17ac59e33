"""What the package spec says about the runtime's sources, and what the compiler made of them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from .conftest import ROOT, package

FORBIDDEN = {"memcpy", "memmove", "memset", "memcmp", "strlen", "strcmp", "snprintf", "malloc", "free"}
ELSEWHERE = re.compile(r"engine/llvm")


def test_every_source_is_in_the_package() -> None:
    named = {source for artefact in package("embedded").artefacts for source in artefact.sources}
    sources = {
        str(path.relative_to(ROOT))
        for folder in ("common", "engine", "hook", "runtime")
        for path in (ROOT / "embedded" / folder).glob("*.[cS]")
    }
    assert {source for source in sources if not ELSEWHERE.search(source)} == named


def test_no_instruction_touches_a_vector_register(runtime: Path) -> None:
    """A hit runs between two instructions of somebody whose vector registers nobody has saved."""
    for library in ("shim.so", "agent.so"):
        text = subprocess.check_output(["objdump", "-d", "--no-show-raw-insn", runtime / library], text=True)
        assert len(text.splitlines()) > 1000
        assert not re.findall(r"^.*%[xyz]mm\d.*$", text, flags=re.MULTILINE)


def test_the_hit_path_calls_none_of_libcs_copying_functions(tmp_path: Path) -> None:
    """They use vector registers. Helpers and maps copy with functions of our own."""
    (agent,) = (a for a in package("embedded").artefacts if a.output == "agent.so")
    flags = [flag for flag in agent.flags if not flag.startswith("-Wl")]
    hot = [s for s in agent.sources if re.search(r"runtime/(map_|helpers|format|fault\.c|thread|run)", s)]
    assert len(hot) > 10
    for source in hot:
        made = tmp_path / "object.o"
        argv = ["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O2", "-fPIC", *flags, "-Iembedded"]
        subprocess.run([*argv, "-c", source, "-o", made], cwd=ROOT, check=True)
        undefined = subprocess.check_output(["nm", "-u", made], text=True).split()
        assert not FORBIDDEN & set(undefined), source
