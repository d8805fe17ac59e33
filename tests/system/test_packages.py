"""Third-party packages: fetched and built by doit, and built a second time elsewhere, to the same bytes.

They are built in a checkout of their own, into this checkout's store, so that only the first run of these
tests takes long; the second time is always really built. What cannot be fetched here is skipped with the
reason.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpfbench.store.keys import changes
from bpfbench.store.store import Item, Store
from bpfbench.store.tree import delete

from .bad_luck import NOBODY, as_nobody, give_to
from .packages import Place, model, sources_of, third_party

pytestmark = [pytest.mark.system, pytest.mark.long]

ELSEWHERE = "somewhere else, ü and ✓"
OTHER_WAYS = ("taskset", "--cpu-list", str(min(os.sched_getaffinity(0))), "sh", "-c", 'umask 077; exec "$@"', "sh")
"""With another number of jobs and another umask than the first time."""
OTHER_ENVIRONMENT = {"LANG": "de_DE.UTF-8", "LC_ALL": "tr_TR", "TZ": "Asia/Tokyo", "CFLAGS": "-O0", "MAKEFLAGS": "-k"}


@pytest.fixture(scope="session")
def elsewhere() -> Iterator[Place]:
    """Another checkout with another store, in a directory with another name, used by somebody else from another home.

    Root does there as sudo would for a user without rights, if there is an interpreter that such a user can run.
    """
    top = Path(tempfile.mkdtemp(prefix="bpfbench-test-"))
    top.chmod(0o755)
    home = top / "home"
    home.mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), **OTHER_ENVIRONMENT}
    somebody = as_nobody() if os.geteuid() == 0 else None
    more = {}
    if somebody:
        number = str(NOBODY)
        environment |= {**somebody["env"], "SUDO_UID": number, "SUDO_GID": number, "SUDO_USER": "nobody"}
        more["interpreter"] = somebody["interpreter"]
    root = top / ELSEWHERE / "at another depth" / "checkout"
    place = Place(root, Store(root / "vendor" / "store"), environment, OTHER_WAYS, **more).make()
    if somebody:
        give_to(top, NOBODY)
    yield place
    delete(top)


@pytest.mark.parametrize("name", third_party())
def test_built_a_second_time_elsewhere_it_is_the_same(
    name: str, items: Callable[[str], Item], first: Place, elsewhere: Place
) -> None:
    made = items(name)
    again = elsewhere.build(name, *(stand_in(source, first, elsewhere) for source in sources_of(name)))
    assert again.path != made.path
    # The key is the same whoever asks; but a local copy has no empty directories, which wabt's source has.
    differences = changes(made.manifest.key.components, again.manifest.key.components)
    assert [change for change in differences if not change.path.startswith("sources.")] == []
    assert again.meta["wall"] != made.meta["wall"], "it was really built again"
    assert differing(again.tree, made.tree) == []
    assert again.hash == made.hash
    for place, tree in ((elsewhere.root.parent, again.tree), (first.root, made.tree), (first.store.root, made.tree)):
        for file in files(tree):
            assert os.fsencode(place) not in (tree / file).read_bytes(), f"{file} names where it was built"
    memory = model().packages[name].options.get("memory")
    assert memory is None or 0 < int(str(again.meta["largest"])) <= memory, "jobs are bounded by what one takes"
    for file in files(again.tree):
        found = [day for day in today() if day in (again.tree / file).read_bytes()]
        assert not found, f"{file} says when it was built: {found}"


def today() -> list[bytes]:
    """Return today's date as programs write it: the two builds may be of the same day."""
    forms = ("%Y-%m-%d", "%Y%m%d", "%b %d %Y", "%b %e %Y", "%d %b %Y", "%a %b %e")
    return [time.strftime(form, time.gmtime()).encode() for form in forms]


def stand_in(source: str, first: Place, place: Place) -> str:
    """Copy a source to beside a checkout; return the word by which that is used in place of the origins."""
    copy = place.root.parent / "sources" / source
    if not copy.exists():
        shutil.copytree(first.source(source), copy, symlinks=True)
        if "SUDO_UID" in place.environment:
            give_to(copy.parent, NOBODY)
    return f"override.{source}={copy}"


def files(tree: Path) -> list[str]:
    return sorted(file.relative_to(tree).as_posix() for file in tree.rglob("*") if file.is_file())


def differing(one: Path, other: Path) -> list[str]:
    """Name the files by which two trees differ: a hash tells nobody what to mend."""
    names = files(one)
    if names != files(other):
        return sorted({*names} ^ {*files(other)})
    return [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]


def test_the_default_run_builds_none_of_them(first: Place) -> None:
    done = first.doit("plan")
    listed = done.stdout
    assert done.returncode == 0, done.stderr
    executed = {package for experiment in model().experiments.values() for package in experiment.packages}
    assert "build_" in listed
    for name in set(third_party()) - executed:
        assert f"build_{name}" not in listed
        assert f"fetch_{name}" not in listed


def test_all_of_them_are_listed(first: Place) -> None:
    listed = first.doit("list").stdout
    for name in third_party():
        assert f"build_{name} " in listed
