import os
import stat

import pytest

from bpfbench.store import files
from bpfbench.store.files import sweep_temporaries, write_atomic

from .test_kill import killed_everywhere


def names(path):
    return sorted(child.name for child in path.iterdir())


def test_a_file_is_written_with_its_directories_and_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two" and names(path.parent) == ["file"]


def test_the_mode_does_not_depend_on_the_umask(tmp_path):
    old = os.umask(0o077)
    try:
        write_atomic(tmp_path / "a", b"")
        write_atomic(tmp_path / "b", b"", mode=0o444)
    finally:
        os.umask(old)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"] == [0o644, 0o444]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fail(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and names(tmp_path) == ["file"]


def test_a_killed_writer_leaves_the_old_content_or_the_new(tmp_path, children):
    def prepare(number):
        path = tmp_path / str(number) / "file"
        write_atomic(path, b"old")
        return path

    contents = set()
    for _, path in killed_everywhere(
        children, prepare, lambda path: write_atomic(path, b"new" * 10_000), least=8
    ):
        contents.add(path.read_bytes())
        sweep_temporaries(path.parent)
        assert names(path.parent) == ["file"]
    assert contents == {b"old", b"new" * 10_000}


def test_only_temporary_files_are_swept(tmp_path):
    for name in (".file.abc.tmp", "file", ".hidden", "x.tmp"):
        (tmp_path / name).touch()
    assert sweep_temporaries(tmp_path) == [".file.abc.tmp"]
    assert names(tmp_path) == [".hidden", "file", "x.tmp"]
