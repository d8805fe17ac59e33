"""Sound archives come out as they are, whatever they were packed with: compared with what the standard library makes."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import shutil
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bpfbench.errors import BenchError
from bpfbench.fetch.errors import Refused
from bpfbench.fetch.unpack import unpack
from bpfbench.fetch.zstd import plain_tar
from bpfbench.store.nar import nar_hash

from .hostile import DIR, LINK, SYM, entry, info, tar, zipped

MEMBERS = (
    info("top", DIR),
    (info("top/configure", mode=0o755), b"#!/bin/sh\n"),
    (info("top/src/a.c", mode=0o600), b"int a;\n" * 300),
    (info("top/src/empty"), b""),
    info("top/none", DIR),
    info("top/src/link.c", SYM, linkname="a.c"),
    info("top/up", SYM, linkname="src/../src/a.c"),
    info("top/dangling", SYM, linkname="src/nothing"),
    info("top/hard", LINK, linkname="top/configure"),
    (info("top/" + "long" * 40 + "/" + "name" * 30), b"long"),
    (info("top/caf\u00e9"), b"utf-8"),
)


def check(tree: Path) -> None:
    assert sorted(path.name for path in tree.iterdir()) == sorted(
        ["configure", "src", "none", "up", "dangling", "hard", "long" * 40, "caf\u00e9"]
    )
    assert (tree / "src/a.c").read_bytes() == b"int a;\n" * 300
    assert (tree / "src/empty").read_bytes() == b""
    assert (tree / "src/link.c").readlink() == Path("a.c")
    assert (tree / "dangling").readlink() == Path("src/nothing")
    assert (tree / "hard").read_bytes() == b"#!/bin/sh\n"
    assert (tree / "hard").stat().st_nlink == 1
    assert (tree / ("long" * 40) / ("name" * 30)).read_bytes() == b"long"
    modes = {path.name: stat.S_IMODE(path.lstat().st_mode) for path in tree.rglob("*") if not path.is_symlink()}
    assert {modes["configure"], modes["hard"]} == {0o555}
    assert modes["a.c"] == 0o444


PACKERS = {"plain": lambda data: data, "gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}


@pytest.mark.parametrize("packer", PACKERS)
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_a_tar_of_each_kind_comes_out(tmp_path, tree, packer, format):
    (tmp_path / "a").write_bytes(PACKERS[packer](tar(*MEMBERS, format=format)))
    assert unpack(tmp_path / "a", tree, strip=1) == len(MEMBERS)
    check(tree)


def test_zstd_comes_out_where_there_is_the_program(tmp_path, tree, tools):
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here")
    packed = subprocess.run(["zstd", "-q", "-c"], input=tar(*MEMBERS), capture_output=True, check=True).stdout
    (tmp_path / "a").write_bytes(packed)
    unpack(tmp_path / "a", tree, strip=1, zstd=lambda path: plain_tar(path, tools))
    check(tree)


def test_a_zstd_bomb_is_refused_before_it_fills_the_disk(tmp_path, tree, tools):
    if shutil.which("zstd") is None:
        pytest.skip("no zstd here")
    tools.limits = type(tools.limits)(free=1 << 20)
    bomb = subprocess.run(["zstd", "-q", "-c"], input=bytes(32 << 20), capture_output=True, check=True).stdout
    (tmp_path / "a").write_bytes(bomb)
    with pytest.raises(Refused, match="bomb"):
        unpack(tmp_path / "a", tree, zstd=lambda path: plain_tar(path, tools))
    assert sum(path.stat().st_size for path in tools.work.rglob("*") if path.is_file()) < 2 << 20


def test_without_zstd_it_is_said_what_to_install(tmp_path, tree):
    (tmp_path / "a").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(600))
    with pytest.raises(BenchError, match="zstd, which is not here") as caught:
        unpack(tmp_path / "a", tree)
    assert caught.value.hint == "install zstd"


def test_a_zip_comes_out(tmp_path, tree):
    members = (
        ("top/", b""),
        (entry("top/run", stat.S_IFREG | 0o755), b"#!/bin/sh\n"),
        ("top/sub/data", b"x" * 100_000),
        (entry("top/link", stat.S_IFLNK | 0o777), b"sub/data"),
        (entry("top/made on windows", 0, system=0), b"w"),
    )
    (tmp_path / "a").write_bytes(zipped(*members, method=zipfile.ZIP_DEFLATED))
    assert unpack(tmp_path / "a", tree, strip=1) == len(members)
    assert (tree / "sub/data").read_bytes() == b"x" * 100_000
    assert (tree / "link").readlink() == Path("sub/data")
    assert os.access(tree / "run", os.X_OK) and not (tree / "sub/data").stat().st_mode & 0o111
    assert (tree / "made on windows").read_bytes() == b"w"


def test_two_compressed_streams_one_after_the_other_and_padding_are_one(tmp_path, tree):
    data = tar(*MEMBERS)
    for packer in (gzip.compress, lzma.compress, bz2.compress):
        (tmp_path / "a").write_bytes(packer(data[:2000]) + packer(data[2000:]) + bytes(512))
        (tree / packer.__module__).mkdir()
        unpack(tmp_path / "a", tree / packer.__module__, strip=1)
        check(tree / packer.__module__)


def test_nothing_of_it_lies_above_what_is_stripped(tmp_path, tree):
    (tmp_path / "a").write_bytes(tar((info("top/a"), b"1"), (info("README"), b"2")))
    with pytest.raises(Refused, match="README: lies above the 1 directories"):
        unpack(tmp_path / "a", tree, strip=1)
    with pytest.raises(Refused, match="comes twice"):
        (tmp_path / "a").write_bytes(tar((info("one/b"), b"1"), (info("two/b"), b"2")))
        unpack(tmp_path / "a", tree, strip=1)


def test_a_symlink_out_of_what_is_left_after_stripping_is_refused(tmp_path, tree):
    (tmp_path / "a").write_bytes(tar(info("top/s", SYM, linkname="../top/a"), (info("top/a"), b"1")))
    unpack(tmp_path / "a", tree)
    (tree / "again").mkdir()
    with pytest.raises(Refused, match="out of the tree"):
        unpack(tmp_path / "a", tree / "again", strip=1)


def test_a_full_disk_is_the_machines_fault(tmp_path, tree, monkeypatch):
    (tmp_path / "a").write_bytes(tar(*MEMBERS))

    def full(fd, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bpfbench.fetch.unpack.os.write", full)
    with pytest.raises(BenchError, match="the disk is full"):
        unpack(tmp_path / "a", tree)


names = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"], exclude_characters="/\\"), min_size=1, max_size=60)
paths = st.lists(names.filter(lambda n: n not in (".", "..") and n.lower() != ".git"), min_size=1, max_size=4).map("/".join)
contents = st.binary(max_size=1500) | st.integers(0, 5000).map(bytes)


@given(
    st.dictionaries(paths, st.tuples(contents, st.booleans()), min_size=1, max_size=12),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.sampled_from(list(PACKERS)),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_what_the_standard_library_packs_and_unpacks_is_the_same_here(tmp_path_factory, files, format, packer):
    place = tmp_path_factory.mktemp("same")
    data = tar(*((info(name, mode=0o755 if x else 0o644), body) for name, (body, x) in files.items()), format=format)
    (place / "a").write_bytes(PACKERS[packer](data))
    (place / "ours").mkdir(), (place / "theirs").mkdir()
    try:
        unpack(place / "a", place / "ours")
    except Refused as refused:
        assert "one name on many" in refused.why or "below the file" in refused.why or "comes twice" in refused.why
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(place / "theirs", filter="data")
    assert nar_hash(place / "ours") == nar_hash(place / "theirs")


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_whatever_is_done_to_an_archive_it_is_refused_or_harmless(tmp_path_factory, data):
    place = tmp_path_factory.mktemp("mutant")
    good = bytearray(data.draw(st.sampled_from([tar(*MEMBERS), gzip.compress(tar(*MEMBERS)), zipped(("a/b", b"x" * 99))])))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    (place / "a").write_bytes(good)
    (place / "tree").mkdir()
    with contextlib.suppress(Refused):
        unpack(place / "a", place / "tree")
    assert sorted(path.name for path in place.iterdir()) == ["a", "tree"]
