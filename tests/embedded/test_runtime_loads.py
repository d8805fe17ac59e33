"""Libraries that are loaded while they are to be probed, and unloaded."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from .compile import LIBBPF, TESTS, bpf_object, program
from .conftest import Segment
from .talk import Program

CALLS = 50


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the programs and the libraries are; one is a copy of the other, but another file."""
    tree = tmp_path_factory.mktemp("loads")
    program("kills", tree, *LIBBPF)
    bpf_object("kills", tree)
    program("later", tree, "-ldl")
    argv = ["gcc", "-O1", "-fPIC", "-shared", "-DLIBRARY", TESTS / "later.c", "-o", tree / "library.so"]
    subprocess.run(argv, check=True)
    shutil.copy(tree / "library.so", tree / "other.so")
    return tree


def test_a_library_is_probed_from_its_constructor_on(built: Path, segment: Segment) -> None:
    """The one that comes in its place is not, and its code stays what it is when the first one's probes are taken away."""
    loader = Program([built / "kills", built / "kills.bpf.o", built / "library.so"], segment.loader())
    assert loader.line() == "READY", loader.errors()
    later = Program([built / "later", built / "library.so", built / "other.so", str(CALLS)], segment.target())
    assert later.line() == "SAME"
    assert loader.ask("read") == f"records {CALLS + 1} good0 {CALLS + 1}"
    loader.end_input()
    assert loader.process.wait() == 0
    assert "did not answer" not in loader.errors()
    later.end_input(b"go on\n")
    assert later.process.wait(20) == 0
