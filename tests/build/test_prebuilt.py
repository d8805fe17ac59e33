"""A build tree that somebody else made: what is taken of it, and what its key depends on."""

from dataclasses import replace

import pytest

from bpfbench.build import prebuilt
from bpfbench.errors import BenchError
from bpfbench.model.types import Location, Package

OPTIONS = {
    "take": {"lib/": ["agent/libagent.so", "server/libserver.so"], "tool": "bin/tool"},
    "record": ["CMAKE_BUILD_TYPE", "THING_DIR", "WITH_CHECKS", "ABSENT"],
}
PACKAGE = Package("thing", "A thing", "prebuilt", Location("specs/packages/thing.yaml", 1, 1), options=OPTIONS)


@pytest.fixture
def build(tmp_path):
    """A stand-in for a build tree."""
    root = tmp_path / "build"
    for name in ("agent/libagent.so", "server/libserver.so", "bin/tool"):
        path = root / name
        path.parent.mkdir(parents=True)
        path.write_text(f"code of {name}")
    (root / "bin/tool").chmod(0o755)
    (root / "ThingConfigVersion.cmake").write_text('set(PACKAGE_VERSION "15.0.6")\n')
    cache(root)
    return root


def cache(root, **changed):
    options = {"CMAKE_BUILD_TYPE:STRING": "RelWithDebInfo", "WITH_CHECKS:BOOL": "0", "OTHER:BOOL": "ON", **changed}
    lines = ["# This is the CMakeCache file.", "//a comment:BOOL=ON", f"THING_DIR:PATH={root}", f"CMAKE_HOME_DIRECTORY:INTERNAL={root}"]
    (root / "CMakeCache.txt").write_text("\n".join([*lines, *(f"{name}={value}" for name, value in options.items())]))


@pytest.fixture
def key(build, tmp_path):
    def components(package=PACKAGE, where=build):
        return prebuilt.key_components(package, where, cache=tmp_path / "memory")

    return components


def test_files_and_recorded_options_are_the_key(key):
    found = key()
    assert set(found["files"]) == {"lib/libagent.so", "lib/libserver.so", "tool"}
    assert found["options"] == {
        "CMAKE_BUILD_TYPE": "RelWithDebInfo", "THING_DIR": found["options"]["THING_DIR"], "WITH_CHECKS": "0", "ABSENT": "not set",
    }


def test_an_edit_and_an_option_change_the_key_and_nothing_else_does(key, build):
    before = key()
    cache(build, **{"OTHER:BOOL": "OFF"})
    (build / "unrelated.o").write_text("x")
    assert key() == before
    cache(build, **{"WITH_CHECKS:BOOL": "1"})
    assert key() != before
    cache(build)
    assert key() == before
    (build / "bin/tool").write_text("another tool")
    assert key()["files"] != before["files"]


def test_where_the_tree_lies_is_no_part_of_the_key(build, tmp_path, key):
    package = replace(PACKAGE, options={"take": OPTIONS["take"], "record": ["CMAKE_BUILD_TYPE"]})
    before = key(package)
    moved = build.rename(tmp_path / "moved")
    assert key(package, moved) == before


def test_the_version_of_a_found_package_is_recorded(key, build):
    (build / "THINGConfigVersion.cmake").write_text('set(PACKAGE_VERSION "15.0.6")\n')
    assert key()["options"]["THING_DIR"] == "15.0.6"


def test_what_is_taken_is_copied_with_its_execute_bit(key, build, tmp_path):
    tree = tmp_path / "tree"
    told = prebuilt.make(PACKAGE, build, tree, wanted=key())
    assert (tree / "lib/libagent.so").read_text() == "code of agent/libagent.so"
    assert (tree / "tool").stat().st_mode & 0o100
    assert told["about"]["options"]["WITH_CHECKS"] == "0"


def test_a_file_that_changes_while_it_is_copied_is_noticed(key, build, tmp_path):
    wanted = key()
    (build / "bin/tool").write_text("rebuilt")
    with pytest.raises(BenchError, match="changed while it was copied"):
        prebuilt.make(PACKAGE, build, tmp_path / "tree", wanted=wanted)


@pytest.mark.parametrize(("value", "on"), [("0", False), ("OFF", False), ("x-NOTFOUND", False), ("1", True), ("ON", True), ("yes", True)])
def test_an_expected_option_must_be_so(key, build, value, on):
    cache(build, **{"WITH_CHECKS:BOOL": value})
    package = replace(PACKAGE, options={**OPTIONS, "expect": {"WITH_CHECKS": "on"}})
    if on:
        key(package)
    else:
        with pytest.raises(BenchError, match=r"WITH_CHECKS=.*must be on") as caught:
            key(package)
        assert "override.thing-build=" in str(caught.value)


def test_an_option_that_was_not_set_is_not_what_is_expected(key):
    with pytest.raises(BenchError, match="MISSING"):
        key(replace(PACKAGE, options={**OPTIONS, "expect": {"MISSING": "on"}}))


def test_a_tree_without_a_cache_or_a_library_is_refused(key, build, tmp_path):
    (build / "server/libserver.so").unlink()
    with pytest.raises(BenchError, match=r"libserver\.so is not there"):
        key()
    (build / "server/libserver.so").write_text("x")
    (build / "CMakeCache.txt").unlink()
    with pytest.raises(BenchError, match="no build tree of CMake"):
        key()


def test_the_source_directory_is_known(build):
    assert prebuilt.home(build) == build
