"""The identity of OS packages, on a package database of our own."""

from pathlib import Path

import pytest

from bpfbench.build.digests import Memory
from bpfbench.build.ospackages import OsPackages


class Dpkg:
    """A database in which packages own files of a private directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dpkg/info").mkdir(parents=True)
        self.stanzas: dict[str, str] = {}

    def install(
        self, name: str, *files: str, version: str = "1", depends: str = "", listing: str = ""
    ) -> None:
        for file in files:
            place = Path(file)
            if place.is_relative_to(self.root):
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(f"{file} {version}")
        stanza = f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
        self.stanzas[name] = stanza + (f"Depends: {depends}\n" if depends else "")
        (self.root / "dpkg/info" / f"{listing or name}.list").write_text(
            "/.\n" + "".join(f"{f}\n" for f in files)
        )
        (self.root / "dpkg/status").write_text("\n".join(self.stanzas.values()))

    def look(self) -> OsPackages:
        return OsPackages(Memory(self.root / "memory.json"), self.root / "dpkg")

    def file(self, name: str) -> str:
        return str(self.root / "system" / name)


@pytest.fixture
def dpkg(tmp_path: Path) -> Dpkg:
    dpkg = Dpkg(tmp_path)
    # what kind of package it is shows in names alone; these files need not exist
    dpkg.install(
        "libthing-dev", "/usr/include/thing-of-a-test.h", dpkg.file("thing.h"), version="2",
        depends="libthing3 (= 2), thing-doc | thing-manual, absent (>= 1), libc-test-dev:any",
    )  # fmt: skip
    dpkg.install("libthing3", "/usr/lib/x86_64-linux-gnu/libthing-of-a-test.so.3", dpkg.file("libthing.so.3"),
                 depends="libdeep1, debconf-test", listing="libthing3:amd64")  # fmt: skip
    dpkg.install("libdeep1", "/usr/lib/x86_64-linux-gnu/libdeep-of-a-test.so.1")
    dpkg.install("debconf-test", "/usr/share/debconf-of-a-test/confmodule")
    dpkg.install("thing-doc", "/usr/share/thing-of-a-test/manual.html")
    dpkg.install("libc-test-dev", "/usr/include/of-a-test/stdio.h", dpkg.file("stdio.h"))
    dpkg.install("unrelated-dev", "/usr/include/unrelated-of-a-test.h", dpkg.file("unrelated.h"))
    return dpkg


def test_what_is_for_developing_brings_what_it_depends_on(dpkg: Dpkg) -> None:
    assert set(dpkg.look().identity(["libthing-dev"], [])) == {"libthing-dev", "libthing3", "libc-test-dev"}


def test_owners_of_certain_files_take_part(dpkg: Dpkg) -> None:
    assert set(dpkg.look().identity([], [dpkg.file("stdio.h")])) == {"libc-test-dev"}


def test_a_new_version_is_told(dpkg: Dpkg) -> None:
    before = dpkg.look().identity(["libthing-dev"], [])
    files = ("/usr/lib/x86_64-linux-gnu/libthing-of-a-test.so.3", dpkg.file("libthing.so.3"))
    dpkg.install("libthing3", *files, version="2.1", listing="libthing3:amd64")
    after = dpkg.look().identity(["libthing-dev"], [])
    assert (before["libthing3"]["version"], after["libthing3"]["version"]) == ("1", "2.1")
    assert before["libthing-dev"] == after["libthing-dev"]


def test_a_file_changed_by_hand_is_noticed_without_a_new_version(dpkg: Dpkg) -> None:
    memory = dpkg.look()
    before = memory.identity(["libthing-dev"], [])
    Path(dpkg.file("thing.h")).write_text("changed by hand")
    after = dpkg.look().identity(["libthing-dev"], [])
    assert before["libthing-dev"]["version"] == after["libthing-dev"]["version"]
    assert before["libthing-dev"]["files"] != after["libthing-dev"]["files"]


def test_installing_something_else_changes_nothing(dpkg: Dpkg) -> None:
    before = dpkg.look().identity(["libthing-dev"], [])
    dpkg.install("another-dev", "/usr/include/another-of-a-test.h", dpkg.file("another.h"))
    assert dpkg.look().identity(["libthing-dev"], []) == before


def test_a_removed_package_no_longer_counts(dpkg: Dpkg) -> None:
    dpkg.stanzas["libthing3"] = dpkg.stanzas["libthing3"].replace(
        "install ok installed", "deinstall ok config-files"
    )
    dpkg.install("other", "/usr/share/of-a-test/other")
    assert "libthing3" not in dpkg.look().identity(["libthing-dev"], [])


def test_documentation_does_not_count(dpkg: Dpkg, tmp_path: Path) -> None:
    before = dpkg.look().identity(["libthing-dev"], [])
    listing = tmp_path / "dpkg/info/libthing-dev.list"
    listing.write_text(listing.read_text() + "/usr/share/doc/base-files\n")
    assert dpkg.look().identity(["libthing-dev"], []) == before


def test_files_are_covered_by_their_real_names_and_owners_are_known(dpkg: Dpkg, tmp_path: Path) -> None:
    covered = dpkg.look().covers(["libthing-dev"], [])
    assert {dpkg.file("thing.h"), dpkg.file("libthing.so.3"), dpkg.file("stdio.h")} <= covered
    assert dpkg.file("unrelated.h") not in covered
    assert dpkg.look().owner(dpkg.file("unrelated.h")) == "unrelated-dev"
    assert dpkg.look().owner(dpkg.file("nobody's.h")) is None


def test_without_dpkg_all_development_files_count_together(tmp_path: Path) -> None:
    packages = OsPackages(Memory(tmp_path / "memory.json"), tmp_path / "absent")
    identity = packages.identity(["libthing-dev"], [])
    assert list(identity) == ["every development file"]
    assert identity == packages.identity([], [])
    if Path("/usr/include/stdio.h").exists():
        assert "/usr/include/stdio.h" in packages.covers([], [])


@pytest.mark.parametrize("state", ["triggers-pending", "triggers-awaited"])
def test_while_something_else_is_being_installed_nothing_changes(dpkg: Dpkg, state: str) -> None:
    before = dpkg.look().identity(["libthing-dev"], [])
    for name, stanza in dpkg.stanzas.items():
        dpkg.stanzas[name] = stanza.replace("install ok installed", f"install ok {state}")
    dpkg.install("another", "/usr/share/another-of-a-test/thing")
    assert dpkg.look().identity(["libthing-dev"], []) == before


def test_what_is_removed_but_for_its_settings_takes_no_part(dpkg: Dpkg) -> None:
    dpkg.stanzas["libthing3"] = dpkg.stanzas["libthing3"].replace("install ok installed", "deinstall ok config-files")
    dpkg.install("another", "/usr/share/another-of-a-test/thing")
    assert "libthing3" not in dpkg.look().identity(["libthing-dev"], [])
