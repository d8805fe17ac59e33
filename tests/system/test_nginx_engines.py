"""The engines of the nginx module, loaded as the module loads them: the same answers, the same counts, and no way out of their memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bpfbench.build import workload
from bpfbench.drivers.gate_rules import allowed, matrix, packed
from bpfbench.layout import Layout
from bpfbench.model.load import load

ROOT = Path(__file__).parents[2]
PACKAGE = load(Layout.of(ROOT)).packages["nginx_module"]
RULES = ("/images/", "/styles/", "/", "/body")
OWN = {**os.environ, "PYTHONPATH": str(ROOT)}
pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build all but the module itself, which wants nginx."""
    engines = tuple(artefact for artefact in PACKAGE.artefacts if artefact.output != "gate.so")
    made = tmp_path_factory.mktemp("engines") / "tree"
    workload.make(replace(PACKAGE, artefacts=engines, depends=()), ROOT, made, cache=tmp_path_factory.mktemp("toolchain"))
    return made


class About(ctypes.Structure):
    """struct gate_about."""

    _fields_ = (
        ("engine", ctypes.c_char * 32), ("bounded_by", ctypes.c_char * 160), ("compile_ns", ctypes.c_uint64),
        ("code_size", ctypes.c_uint64), ("wrong", ctypes.c_char * 1024),
    )  # fmt: skip


BYTES, POINTER = ctypes.c_char_p, ctypes.c_void_p
FUNCTIONS = {
    "open": (POINTER, ctypes.c_size_t, POINTER),
    "set": (BYTES,),
    "decide": (BYTES, ctypes.c_size_t),
    "count": (POINTER,),
    "trespass": (POINTER, POINTER, POINTER, ctypes.c_size_t),
}


class Engine(ctypes.Structure):
    """struct gate_engine."""

    _fields_ = tuple((name, ctypes.CFUNCTYPE(ctypes.c_int, *arguments)) for name, arguments in FUNCTIONS.items())


def exercise(library: str, *words: str) -> None:
    """What is done with each engine, in a process of its own: prints what came of it."""
    engine = Engine.in_dll(ctypes.CDLL(library), "gate_engine")
    about, counted = About(), (ctypes.c_uint64 * 2)()
    given = (BYTES * len(words))(*(word.encode() for word in words))
    opened = engine.open(given, len(words), ctypes.byref(about))
    print(opened, about.wrong.decode() or about.engine.decode(), sep="|")
    if opened:
        return
    expected = [0, 0]
    for rules in (RULES[:2], RULES[2:3], RULES[1:2] + RULES[3:]):
        assert engine.set(packed(rules)) == 0
        for path in sorted({meant for _, meant in matrix(RULES[:2])} | {"", "/im", "x"}):
            passes = engine.decide(path.encode(), len(path))
            assert passes == allowed(path, rules), (path, rules, passes)
            expected[not passes] += 1
    assert engine.count(counted) == 0
    assert list(counted) == expected and all(expected)
    secret, found, said = ctypes.create_string_buffer(os.urandom(1)), ctypes.c_uint8(), ctypes.create_string_buffer(512)
    got = engine.trespass(secret, ctypes.byref(found), said, len(said))
    print(got, found.value == secret.raw[0] if got else "", said.value.decode(), sep="|")


def said_by(*words: str) -> list[list[str]]:
    """Return the lines that an engine's process prints."""
    done = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=False, timeout=60, env=OWN)
    assert done.returncode == 0, done.stderr
    return [line.split("|") for line in done.stdout.splitlines()]


def test_c_has_no_bounds(tree: Path) -> None:
    assert said_by(str(tree / "c.so")) == [["0", "c"], ["1", "True", "nothing stopped it"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel verifies the programs")
@pytest.mark.parametrize("engine", ["jit", "interpreter"])
def test_the_verifier_bounds_the_embedded_engine(tree: Path, engine: str) -> None:
    opened, tried = said_by(str(tree / "embedded.so"), str(tree / "program.bpf.o"), engine)
    assert opened == ["0", engine]
    assert tried[0] == "0" and "invalid mem access" in tried[2]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: without a permission to lose there is nothing to see")
def test_where_nobody_verifies_nothing_is_run(tree: Path) -> None:
    unsure = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", sys.executable, __file__)
    words = [*unsure, str(tree / "embedded.so"), str(tree / "program.bpf.o")]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60, env=OWN)
    assert done.stdout.startswith("1|nobody verifies programs for this user"), done.stdout + done.stderr


def test_what_is_no_object_is_refused_by_name(tree: Path) -> None:
    assert said_by(str(tree / "embedded.so"), str(tree / "missing.o"))[0][0] == "2"
    assert "missing.o" in said_by(str(tree / "embedded.so"), str(tree / "missing.o"))[0][1]


if __name__ == "__main__":
    exercise(*sys.argv[1:])
