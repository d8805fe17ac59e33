"""The real workloads, rebuilt elsewhere: the same bytes, or nothing made from them would stay up to date."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bpfbench.build import workload
from bpfbench.build.invoke import Outcome, environment
from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.model.types import Package
from bpfbench.store.nar import nar_hash

ROOT = Path(__file__).parents[2]
# Those made with what others make are built twice by test_packages.py, which has that.
WORKLOADS = [one for one in load(Layout.of(ROOT)).packages.values() if one.recipe == "workload" and not one.depends]
NOBODY = 65534

MISSING = [name for name in ("clang", "gcc") if shutil.which(name) is None]
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]


def copy_of(package: Package, root: Path) -> Path:
    for name in package.inputs:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, root / name)
    return root


def as_nobody(argv: Sequence[str], cwd: Path, *, env: Mapping[str, str] | None = None, **_: Any) -> Outcome:
    done = subprocess.run(
        argv, cwd=cwd, env=env or environment(), user=NOBODY, group=NOBODY, extra_groups=[], umask=0o077,
        capture_output=True, text=True, check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


# To compile these twice takes a minute.
LARGE = {"embedded", "embedded-llvm", "engines"}
OFTEN = [pytest.param(one, marks=pytest.mark.long) if one.name in LARGE else one for one in WORKLOADS]


@pytest.mark.parametrize("package", OFTEN, ids=lambda package: package.name)
def test_another_checkout_gives_the_same_bytes_and_the_same_key(package: Package, tmp_path: Path) -> None:
    places = [copy_of(package, tmp_path / "a"), copy_of(package, tmp_path / ("long name " * 9) / "b" / "c")]
    keys, hashes = [], []
    for number, root in enumerate(places):
        cache = tmp_path / f"cache{number}"
        workload.make(package, root, tmp_path / f"tree{number}", cache=cache)
        keys.append(workload.key_components(package, root, cache=cache))
        hashes.append(nar_hash(tmp_path / f"tree{number}"))
    assert hashes[0] == hashes[1]
    assert keys[0] == keys[1]
    assert str(tmp_path) not in str(keys[0])


# All of them take two minutes, and the test above compiles each twice already: by hand, those but one.
OTHERS = [one if one.name == "uprobe" else pytest.param(one, marks=pytest.mark.long) for one in WORKLOADS]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
@pytest.mark.parametrize("package", OTHERS, ids=lambda package: package.name)
def test_another_user_gives_the_same_bytes(package: Package) -> None:
    # not in a directory of pytest's: those are closed to other users
    with tempfile.TemporaryDirectory(prefix="bpfbench-test-") as name:
        place = Path(name)
        place.chmod(0o755)
        root, cache = copy_of(package, place / "checkout"), place / "cache"
        ours, theirs = place / "ours", place / "theirs"
        workload.make(package, root, ours, cache=cache)
        theirs.mkdir()
        shutil.chown(theirs, NOBODY, NOBODY)
        workload.make(package, root, theirs, cache=cache, run=_opened(theirs, as_nobody))
        contents = [{str(file.relative_to(tree)): file.read_bytes() for file in files(tree)} for tree in (ours, theirs)]
        assert contents[0] == contents[1]
        assert contents[0]
        if not any(artefact.kind == "script" for artefact in package.artefacts):  # those are copied by who runs the recipe
            assert {file.stat().st_uid for file in files(theirs)} == {NOBODY}


def files(tree: Path) -> list[Path]:
    return [path for path in tree.rglob("*") if path.is_file()]


def _opened(tree: Path, run: workload.Run) -> workload.Run:
    """Let the other user write where the recipe, which runs as root here, has made its scratch directory."""

    def opened(argv: Sequence[str], cwd: Path, **options: Any) -> Outcome:
        for folder in (path for path in tree.rglob("*") if path.is_dir()):
            shutil.chown(folder, NOBODY, NOBODY)
        return run(argv, cwd, **options)

    return opened
