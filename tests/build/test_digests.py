"""Digests are the content's, whatever is remembered."""

import hashlib
import os
from pathlib import Path

import pytest

from bpfbench.build.digests import FileDigests, Memory, hash_inputs, hash_mapping
from bpfbench.errors import BenchError


def digests(cache: Path) -> FileDigests:
    return FileDigests(Memory(cache))


def test_a_digest_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert digests(tmp_path / "cache").of(str(file)) == hashlib.sha256(b"content").hexdigest()


def test_an_unchanged_file_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"content")
    first = digests(tmp_path / "cache")
    expected = first.of(str(file))
    first.save()
    monkeypatch.setattr("bpfbench.build.digests.hash_file", lambda _path: pytest.fail("it was read again"))
    assert digests(tmp_path / "cache").of(str(file)) == expected


def test_a_replaced_file_of_the_same_size_and_mtime_is_read_again(tmp_path: Path) -> None:
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(b"one")
    other.write_bytes(b"two")
    seen = file.stat()
    remembering = digests(tmp_path / "cache")
    before = remembering.of(str(file))
    os.utime(other, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    other.replace(file)
    assert remembering.of(str(file)) != before


@pytest.mark.parametrize("rubbish", [b"", b"{", b"[1]", b'{"x": 3}', b"\xff"])
def test_a_spoilt_cache_costs_time_only(tmp_path: Path, rubbish: bytes) -> None:
    file, cache = tmp_path / "x", tmp_path / "cache"
    file.write_bytes(b"content")
    cache.write_bytes(rubbish)
    assert digests(cache).of(str(file)) == hashlib.sha256(b"content").hexdigest()


def test_a_cache_that_cannot_be_written_costs_time_only(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    memory = Memory(tmp_path / "file" / "cache")
    memory.put("a", 1)
    memory.save()


def test_inputs_are_files_and_all_that_is_in_directories_but_nothing_hidden(tmp_path: Path) -> None:
    (tmp_path / "dir/sub").mkdir(parents=True)
    for name in ("dir/a", "dir/sub/b", "dir/.a.swp", "dir/sub/.hidden", "file", "undeclared"):
        (tmp_path / name).write_text(name)
    found = hash_inputs(tmp_path, ("dir", "file"))
    wanted = ("dir/a", "dir/sub/b", "file")
    assert found == {name: hashlib.sha256(name.encode()).hexdigest() for name in wanted}


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="workloads/nowhere"):
        hash_inputs(tmp_path, ("workloads/nowhere",))


def test_the_hash_of_a_mapping_depends_on_names_and_values_and_not_on_order() -> None:
    assert hash_mapping({"a": "1", "b": "2"}) == hash_mapping({"b": "2", "a": "1"})
    others = [{"a": "2", "b": "1"}, {"a": "1"}, {"ab": "12"}, {"a": "1", "b": "2", "c": "3"}]
    assert len({hash_mapping(values) for values in [{"a": "1", "b": "2"}, *others]}) == 5
