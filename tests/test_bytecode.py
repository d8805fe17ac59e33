"""What is compiled beforehand is what Python itself would have compiled, and is never half of it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpfbench.bytecode import compile_own

CACHED = importlib.util.cache_from_source


@pytest.fixture
def root(tmp_path):
    sources = {"bpfbench/__init__.py": "", "bpfbench/inner/one.py": "ONE = 1\n", "tasks/two.py": "'Doc.'\n", "dodo.py": "X = 3\n"}
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_it_is_what_python_writes(root):
    assert compile_own(root) == 4
    ours = {path: path.read_bytes() for path in root.rglob("*.pyc")}
    assert len(ours) == 4
    for path in ours:
        path.unlink()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-S", "-c", "import bpfbench, bpfbench.inner.one, tasks.two, dodo"]
    subprocess.run(command, cwd=root, check=True, env=environment)
    assert {path: path.read_bytes() for path in root.rglob("*.pyc")} == ours


def test_only_what_is_out_of_date_is_compiled(root):
    compile_own(root)
    assert compile_own(root) == 0
    (root / "bpfbench/inner/one.py").write_text("ONE = 11\n")
    assert compile_own(root) == 1
    Path(CACHED(str(root / "tasks/two.py"))).write_bytes(b"")
    assert compile_own(root) == 1


def test_what_cannot_be_compiled_is_left_to_python(root):
    (root / "bpfbench/broken.py").write_text("def\n")
    (root / "bpfbench/nul.py").write_bytes(b"\0")
    assert compile_own(root) == 4


def test_a_place_that_cannot_be_written_is_passed_over(root):
    (root / "tasks" / "__pycache__").write_text("no folder")
    assert compile_own(root) == 3
