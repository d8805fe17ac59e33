"""Hostile archives are refused, each with its member and the right reason, and nothing is made outside the tree."""

from __future__ import annotations

import re

import pytest

from bpfbench.fetch.errors import Refused
from bpfbench.fetch.members import Limits
from bpfbench.fetch.unpack import unpack

from .hostile import HOSTILE, MIB, Hostile

LIMITS = Limits(size=20 * MIB, count=1000, free=8 * MIB)


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_a_hostile_archive_is_refused_with_the_member_and_the_reason(tmp_path, hostile: Hostile):
    place = tmp_path / "outer" / "tree"
    place.mkdir(parents=True)
    archive = tmp_path / "archive"
    archive.write_bytes(hostile.make())
    before = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if place not in path.parents}
    with pytest.raises(Refused) as refused:
        unpack(archive, place, name="evil.tar.gz", limits=LIMITS)
    error = refused.value
    assert re.search(hostile.why, error.why), error
    if hostile.member is not None:
        assert error.member == hostile.member
    assert str(error).startswith("evil.tar.gz: ")
    after = {path: path.lstat().st_mtime_ns for path in tmp_path.rglob("*") if place not in path.parents}
    after.pop(place), before.pop(place)
    assert after == before


@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda hostile: hostile.name)
def test_what_was_made_before_it_was_refused_is_bounded(tmp_path, hostile: Hostile):
    archive, place = tmp_path / "archive", tmp_path / "tree"
    archive.write_bytes(hostile.make())
    place.mkdir()
    with pytest.raises(Refused):
        unpack(archive, place, limits=LIMITS)
    made = [path for path in place.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in made) <= LIMITS.size
    assert not any(path.is_symlink() for path in place.rglob("*"))


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 20
    assert len({hostile.name for hostile in HOSTILE}) == len(HOSTILE)
