"""The loader's side with sanitizers: segment, maps, engine and shim, beside an ordinary agent; the same outcome as without."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .compile import LIBBPF, bpf_object, program
from .conftest import ROOT, Segment, package
from .talk import Program

LOADERS = ("events", "helpers", "kills")
# not optimised: that is faster to compile, and hides nothing
FLAGS = (
    "-std=gnu11", "-D_GNU_SOURCE", "-O0", "-g1", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec", "-shared",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-Iembedded",
)  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the sanitized shim and the test programs are."""
    tree = tmp_path_factory.mktemp("sanitized")
    (shim,) = (artefact for artefact in package("embedded").artefacts if artefact.output == "shim.so")
    subprocess.run(["gcc", *FLAGS, *shim.sources, "-o", tree / "shim.so"], cwd=ROOT, check=True)
    program("target", tree, "-fno-omit-frame-pointer", "-lpthread")
    program("maps", tree, *LIBBPF)
    for name in LOADERS:
        program(name, tree, *LIBBPF)
        bpf_object(name, tree)
    return tree


def environment(built: Path, segment: Segment) -> dict[str, str]:
    """Return a loader's environment. What the test program itself leaks at its end is not looked at."""
    libraries = [
        subprocess.check_output(["gcc", f"-print-file-name=lib{name}.so"], text=True).strip() for name in ("asan", "ubsan")
    ]
    preload = ":".join([*libraries, str(built / "shim.so")])
    return {**segment.loader(), "LD_PRELOAD": preload, "ASAN_OPTIONS": "detect_leaks=0"}


def test_maps_of_every_kind(built: Path, segment: Segment) -> None:
    plain = subprocess.run([built / "maps"], env=segment.loader(), capture_output=True, text=True, check=True)
    env = environment(built, segment)
    checked = subprocess.run([built / "maps"], env=env, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert checked.stdout == plain.stdout
    assert checked.stderr == ""


@pytest.mark.parametrize("name", LOADERS)
def test_loaders_of_every_test_object(built: Path, segment: Segment, name: str) -> None:
    said = []
    for env in (segment.loader(), environment(built, segment)):
        loader = Program([built / name, built / f"{name}.bpf.o", built / "target"], env)
        assert loader.line() == "READY", loader.errors()
        subprocess.run([built / "target", "60"], env=segment.target(), check=True, capture_output=True)
        loader.end_input(b"read\n" if name == "kills" else b"")
        lines = []
        while line := loader.line():
            lines.append(line)
        assert loader.process.wait() == 0, loader.errors()
        assert loader.errors() == ""
        said.append(lines)
    assert said[1] == said[0]
    assert said[0]
