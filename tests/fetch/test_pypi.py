"""Wheels and source distributions, by the machine's own pip, from a folder that stands for an index."""

from __future__ import annotations

import gzip
import hashlib
import sys

import pytest

from bpfbench.errors import BenchError
from bpfbench.fetch import pypi
from bpfbench.fetch.errors import Mismatch, Refused, Unavailable

from .hostile import info, tar, zipped

WHEEL = "thing-1.0-py3-none-any.whl"


def wheel(*more):
    return zipped(
        ("thing/__init__.py", b"raise SystemExit('never to be run')\n"),
        ("thing-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: thing\nVersion: 1.0\nRequires-Dist: nowhere-to-be-found\n"),
        ("thing-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
        ("thing-1.0.dist-info/RECORD", b""),
        *more,
    )


GOOD = wheel()


@pytest.fixture
def index(tmp_path, monkeypatch):
    place = tmp_path / "index"
    place.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return place


@pytest.fixture(autouse=True)
def patient(tools):
    tools.connect = tools.silence = 30.0


def obtain(tools, tree, file=WHEEL, **more):
    return pypi.obtain({"project": "thing", "file": file, **more}, "1.0", tree, tools)


def test_a_wheel_is_unpacked_and_nothing_of_it_installed_or_run(index, tools, tree):
    (index / WHEEL).write_bytes(GOOD)
    got = obtain(tools, tree)
    assert sorted(path.name for path in tree.iterdir()) == ["thing", "thing-1.0.dist-info"]
    assert got.pin == {"sha256": hashlib.sha256(GOOD).hexdigest()}
    assert got.revision == "1.0"
    with pytest.raises(ImportError):
        import thing  # type: ignore[import-not-found] # noqa: F401


def test_a_pinned_wheel_is_verified(index, tools, tree):
    (index / WHEEL).write_bytes(GOOD)
    sha256 = hashlib.sha256(GOOD).hexdigest()
    assert obtain(tools, tree, sha256=sha256).pin == {"sha256": sha256}


def test_another_wheel_of_the_same_name_is_a_mismatch(index, tools, tree):
    (index / WHEEL).write_bytes(GOOD)
    with pytest.raises(Mismatch) as caught:
        obtain(tools, tree, sha256="0" * 64)
    assert caught.value.expected == "0" * 64
    assert caught.value.got == hashlib.sha256(GOOD).hexdigest()
    assert list(tree.iterdir()) == []


def test_a_hostile_wheel_is_refused(index, tools, tree):
    (index / WHEEL).write_bytes(wheel(("../../thing.pth", b"import os")))
    with pytest.raises(Refused, match=r"\.\./\.\./thing\.pth: its name leads upwards"):
        obtain(tools, tree)


def test_a_project_that_is_not_there_is_told(index, tools, tree):
    with pytest.raises(Unavailable, match=r"No matching distribution|could not find a version|Could not find"):
        obtain(tools, tree)


def test_a_wheel_for_another_machine_is_told(index, tools, tree):
    (index / "thing-1.0-py3-none-win32.whl").write_bytes(GOOD)
    with pytest.raises(Unavailable):
        obtain(tools, tree, file="thing-1.0-py3-none-win32.whl")


def test_another_file_of_the_same_version_is_told(index, tools, tree):
    (index / WHEEL).write_bytes(GOOD)
    with pytest.raises(Unavailable, match=f"has {WHEEL} of thing 1.0 for this machine, not thing-1.0-py2"):
        obtain(tools, tree, file="thing-1.0-py2.py3-none-any.whl")


def test_code_of_an_unknown_source_distribution_is_never_run(index, tools, tree):
    with pytest.raises(BenchError, match="not downloaded without its SHA-256") as caught:
        obtain(tools, tree, file="thing-1.0.tar.gz")
    assert "add the sha256" in str(caught.value.hint)


def test_code_of_the_wrong_source_distribution_is_never_run(index, tools, tree, tmp_path):
    ran = tmp_path / "ran"
    setup = f"open({str(ran)!r}, 'w')\nfrom setuptools import setup\nsetup(name='thing', version='1.0')\n".encode()
    (index / "thing-1.0.tar.gz").write_bytes(gzip.compress(tar((info("thing-1.0/setup.py"), setup))))
    with pytest.raises((Mismatch, Unavailable)):
        obtain(tools, tree, file="thing-1.0.tar.gz", sha256="0" * 64)
    assert not ran.exists()


def test_a_python_without_pip_is_told(index, tools, tree, monkeypatch):
    (index / WHEEL).write_bytes(GOOD)
    monkeypatch.setattr(pypi, "_pip", lambda: (sys.executable, "-S", "-I", "-m", "pip"))
    with pytest.raises(Unavailable, match="no pip"):
        obtain(tools, tree)


def test_an_index_that_says_nothing_is_given_up_on(index, tools, tree, monkeypatch, server):
    import threading

    stop = threading.Event()
    server.answer = lambda handler: bool(stop.wait(20)) or True
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    tools.connect = 1.0
    with pytest.raises(Unavailable):
        obtain(tools, tree)
    stop.set()
