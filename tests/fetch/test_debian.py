"""The orig tarball of a source package, by apt, from an archive that the test makes on this disk."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from bpfbench.fetch import debian
from bpfbench.fetch.errors import Mismatch, Unavailable

from .hostile import info, tar

pytestmark = pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt here")

BODY = gzip.compress(tar((info("hello-2.0/README"), b"hello"), (info("hello-2.0/configure", mode=0o755), b"#!/bin/sh")), mtime=0)
FILE = "hello_2.0.orig.tar.gz"


class Archive:
    """A Debian archive with one source package, and a machine whose apt has an entry for it."""

    def __init__(self, root: Path) -> None:
        self.root, self.etc = root / "archive", root / "etc"
        self.root.mkdir(), self.etc.mkdir()
        (self.etc / "parts").mkdir()
        (self.etc / "list").write_text("")
        entry = f"Types: deb\nURIs: file:{self.root}\nSuites: ./\nTrusted: yes\n"
        (self.etc / "parts" / "a.sources").write_text(entry)
        self.config = self.etc / "apt.conf"
        self.config.write_text(f'Dir::Etc::sourcelist "{self.etc}/list"; Dir::Etc::sourceparts "{self.etc}/parts";\n')
        self.stanzas: list[str] = []

    def add(self, version: str, body: bytes = BODY, file: str = FILE) -> str:
        """Add a packaging revision that carries a tarball; return the tarball's SHA-256."""
        (self.root / file).write_bytes(body)
        dsc, packaging = f"hello_{version}.dsc", f"hello_{version}.debian.tar.gz"
        (self.root / dsc).write_text("x")
        (self.root / packaging).write_text("y")
        rows = [(name, (self.root / name).read_bytes()) for name in (dsc, file, packaging)]
        md5 = "".join(f" {hashlib.md5(data).hexdigest()} {len(data)} {name}\n" for name, data in rows)
        sha = "".join(f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in rows)
        self.stanzas.append(
            f"Package: hello\nBinary: hello\nVersion: {version}\nArchitecture: any\nFormat: 3.0 (quilt)\nDirectory: .\n"
            f"Files:\n{md5}Checksums-Sha256:\n{sha}"
        )
        return self.publish(hashlib.sha256(body).hexdigest())

    def publish(self, result: str = "") -> str:
        sources = "\n".join(self.stanzas).encode()
        (self.root / "Sources").write_bytes(sources)
        line = f" {hashlib.sha256(sources).hexdigest()} {len(sources)} Sources\n"
        (self.root / "Release").write_text(f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n{line}")
        return result


@pytest.fixture
def archive(tmp_path, monkeypatch):
    archive = Archive(tmp_path)
    monkeypatch.setenv("APT_CONFIG", str(archive.config))
    return archive


def obtain(tools, tree, sha256=None, **more):
    pinned = {"sha256": sha256} if sha256 else {}
    return debian.obtain({"package": "hello", "file": FILE, **pinned, **more}, "2.0", tree, tools)


def test_the_tarball_comes_out_unpacked_without_the_packaging(archive, tools, tree):
    sha256 = archive.add("2.0-1")
    got = obtain(tools, tree)
    assert sorted(path.name for path in tree.iterdir()) == ["README", "configure"]
    assert (got.revision, got.pin) == ("2.0", {"sha256": sha256})


def test_any_revision_of_the_packaging_that_carries_the_tarball_will_do(archive, tools, tree):
    archive.add("2.0-3+deb12u1")
    sha256 = hashlib.sha256(BODY).hexdigest()
    assert obtain(tools, tree, sha256).pin == {"sha256": sha256}


def test_lists_are_updated_when_something_is_not_in_them(archive, make_tools, tools, tree, monkeypatch):
    archive.add("1.0-1", file="hello_1.0.orig.tar.gz")
    with pytest.raises(Unavailable, match=r"does not have hello_2.0.orig.tar.gz of hello: it has hello_1.0.orig.tar.gz"):
        obtain(tools, tree)
    archive.add("2.0-1")
    with pytest.raises(Unavailable, match="does not have"):
        obtain(tools, tree)  # the lists are minutes old: nobody asks for them again so soon
    monkeypatch.setattr(debian, "FRESH", 0.0)
    obtain(tools, tree)
    assert (tree / "README").read_text() == "hello"


def test_a_package_that_is_not_there_is_told(archive, tools, tree):
    archive.add("2.0-1")
    with pytest.raises(Unavailable, match="it has no such package"):
        debian.obtain({"package": "nothing", "file": FILE}, "2.0", tree, tools)


def test_another_tarball_of_the_same_name_names_expected_and_got(archive, tools, tree):
    got = archive.add("2.0-1")
    with pytest.raises(Mismatch) as caught:
        obtain(tools, tree, "0" * 64)
    assert (caught.value.expected, caught.value.got) == ("0" * 64, got)


def test_an_archive_that_lies_about_a_tarball_gives_nothing(archive, tools, tree):
    archive.add("2.0-1")
    (archive.root / FILE).write_bytes(BODY[:-1] + b"?")
    with pytest.raises((Unavailable, Mismatch)):
        obtain(tools, tree)
    assert list(tree.iterdir()) == []


def test_the_machines_configuration_and_state_are_not_touched(archive, tools, tree):
    archive.add("2.0-1")
    places = [Path("/etc/apt"), Path("/var/lib/apt/lists"), archive.etc]

    def look():
        return {path: path.lstat().st_mtime_ns for place in places if place.is_dir() for path in place.rglob("*")}

    before = look()
    obtain(tools, tree)
    assert look() == before


def test_a_machine_without_entries_is_told(archive, tools, tree):
    (archive.etc / "parts" / "a.sources").write_text("")
    with pytest.raises(Unavailable, match="no entries"):
        obtain(tools, tree)


def test_an_archive_that_is_out_of_reach_is_remembered(archive, tools, tree, server):
    server.answer = lambda handler: False  # a web server without any archive
    (archive.etc / "parts" / "a.sources").write_text(f"Types: deb\nURIs: {server.url}/debian\nSuites: x\nComponents: main\n")
    with pytest.raises(Unavailable):
        obtain(tools, tree)
    assert server.requests


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_it_works_for_somebody_who_is_not_root():
    root = Path("/tmp") / f"bpfbench-test-apt-{os.getpid()}"
    root.mkdir(mode=0o755)
    try:
        archive = Archive(root)
        archive.add("2.0-1")
        mine = root / "mine"
        mine.mkdir()
        os.chown(mine, 65534, 65534)
        # The checkout may lie where nobody else may look, such as in root's home.
        shutil.copytree(Path(__file__).parents[2] / "bpfbench", root / "code" / "bpfbench", ignore=shutil.ignore_patterns("__pycache__"))
        code = f"""
import os, sys
sys.path.insert(0, {str(root / "code")!r})
os.environ["APT_CONFIG"] = {str(archive.config)!r}
os.setgroups([]); os.setgid(65534); os.setuid(65534)
from pathlib import Path
from bpfbench.fetch import debian
from bpfbench.fetch.reach import Reach
from bpfbench.fetch.tools import Tools
mine = Path({str(mine)!r})
(mine / "tree").mkdir()
with Tools("bpfbench-test-apt", mine / "l", mine / "d", mine / "c", mine / "w", lambda *a, **k: 0, Reach(mine / "r")) as tools:
    debian.obtain({{"package": "hello", "file": {FILE!r}}}, "2.0", mine / "tree", tools)
print(sorted(os.listdir(mine / "tree")))
"""
        python = next((p for p in ("/usr/bin/python3.13", "/usr/bin/python3.12", "/usr/bin/python3.11") if Path(p).exists()), None)
        if python is None:
            pytest.skip("no Python of the system's own that others may run")
        done = subprocess.run([python, "-B", "-c", code], capture_output=True, text=True, cwd="/", check=False)
        assert done.stdout == "['README', 'configure']\n", done.stderr
    finally:
        shutil.rmtree(root)
