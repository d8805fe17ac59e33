"""Wheels: held against their own list, and kept as they are."""

import base64
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bpfbench.build import wheel
from bpfbench.errors import BenchError
from bpfbench.model.types import Location, Package
from bpfbench.store.nar import nar_hash

PACKAGE = Package(
    "thing", "A thing", "wheel", Location("specs/packages/thing.yaml", 1, 1), sources=("thing",)
)
TAG = f"py3-none-manylinux_2_17_{os.uname().machine}"


def unpacked(place: Path, tag: str = TAG) -> Path:
    files = {
        "thing_of_a_test/__init__.py": "answer = 42\n",
        "thing_of_a_test/data, with a comma.txt": "data",
        "thing-1.dist-info/WHEEL": f"Wheel-Version: 1.0\nTag: {tag}\n",
    }
    record = ""
    for name, text in files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
        record += f'"{name}",sha256={digest},{len(text)}\n'
    (place / "thing-1.dist-info/RECORD").write_text(record + "thing-1.dist-info/RECORD,,\n")
    return place


def build(source: Path, tree: Path, package: Package = PACKAGE) -> Path:
    tree.mkdir()
    wheel.make(package, Path("/"), tree, cache=Path("/nonexistent"), sources={"thing": source})
    return tree


def test_it_is_imported_by_path(tmp_path: Path) -> None:
    tree = build(unpacked(tmp_path / "source"), tmp_path / "tree")
    code = "import thing_of_a_test as t; print(t.answer, t.__file__)"
    command = [sys.executable, "-S", "-c", code]
    said = subprocess.run(command, env={"PYTHONPATH": str(tree)}, capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["42", f"{tree}/thing_of_a_test/__init__.py"]


def test_twice_is_the_same(tmp_path: Path) -> None:
    first = build(unpacked(tmp_path / "a"), tmp_path / "1")
    assert nar_hash(first) == nar_hash(build(unpacked(tmp_path / "b"), tmp_path / "2"))


@pytest.mark.parametrize("tag", ["py3-none-any", f"cp37-abi3-manylinux1_{os.uname().machine}"])
def test_wheels_for_all_machines_and_for_this_one_are_taken(tag: str, tmp_path: Path) -> None:
    build(unpacked(tmp_path / "source", tag), tmp_path / "tree")


@pytest.mark.parametrize("tag", ["py3-none-manylinux_2_17_s390x64", "py3-none-win_amd64"])
def test_a_wheel_for_another_machine_is_refused(tag: str, tmp_path: Path) -> None:
    with pytest.raises(BenchError, match=r"thing\.yaml:1:1: the wheel is made for .*; this machine is"):
        build(unpacked(tmp_path / "source", tag), tmp_path / "tree")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source")
    (source / "thing_of_a_test/__init__.py").write_text("answer = 43\n")
    with pytest.raises(BenchError, match=r"thing_of_a_test/__init__\.py is not what the wheel's RECORD says"):
        build(source, tmp_path / "tree")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source")
    (source / "thing_of_a_test/data, with a comma.txt").unlink()
    with pytest.raises(BenchError, match=r"data, with a comma\.txt is not what"):
        build(source, tmp_path / "tree")


def test_a_file_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source")
    (source / "thing_of_a_test/more.py").write_text("")
    with pytest.raises(BenchError, match=r"does not list thing_of_a_test/more\.py"):
        build(source, tmp_path / "tree")


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with pytest.raises(BenchError, match="is no unpacked wheel"):
        build(tmp_path / "source", tmp_path / "tree")


def test_a_wheel_that_wants_to_be_installed_is_refused(tmp_path: Path) -> None:
    source = unpacked(tmp_path / "source")
    (source / "thing-1.data/scripts").mkdir(parents=True)
    with pytest.raises(BenchError, match=r"wants thing-1\.data spread"):
        build(source, tmp_path / "tree")


def test_the_source_alone_makes_the_key(tmp_path: Path) -> None:
    keys = [
        wheel.key_components(PACKAGE, tmp_path, cache=tmp_path, sources={"thing": digest})
        for digest in ("a", "b", "a")
    ]
    assert keys[0] == keys[2] != keys[1]
