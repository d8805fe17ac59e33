"""Local trees in place of sources: what belongs to them, and that every change of it is noticed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bpfbench.errors import BenchError
from bpfbench.fetch import local

from .test_git import Repository


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache.json"


@pytest.fixture
def repository(tmp_path):
    repository = Repository(tmp_path / "checkout")
    (repository.path / ".gitignore").write_text("*.o\nbuild/\n")
    repository.commit(a="1", b="2")
    return repository


def names(found):
    return {os.fsdecode(name) for name in found.files}


def test_a_checkout_is_its_tracked_and_its_new_files_but_not_the_ignored(repository, cache):
    (repository.path / "new").write_text("3")
    (repository.path / "a.o").write_text("object")
    (repository.path / "build").mkdir()
    (repository.path / "build/x").write_text("x")
    found = local.look(repository.path, cache)
    assert names(found) == {".gitignore", "a", "b", "new"}
    assert found.commit == repository.git("rev-parse", "HEAD")
    assert found.changed


def test_a_clean_checkout_is_not_changed(repository, cache):
    assert not local.look(repository.path, cache).changed


CHANGES = {
    "edit": lambda path: (path / "a").write_text("other"),
    "edit of equal length": lambda path: (path / "a").write_text("9"),
    "new": lambda path: (path / "new").write_text("n"),
    "deleted": lambda path: (path / "a").unlink(),
    "renamed": lambda path: (path / "a").rename(path / "c"),
    "executable": lambda path: (path / "a").chmod(0o755),
    "symlink": lambda path: ((path / "a").unlink(), (path / "a").symlink_to("b")),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("git", [True, False], ids=["checkout", "directory"])
def test_every_change_is_noticed_and_going_back_is_too(repository, cache, tmp_path, change, git):
    if not git:
        repository.git("status")
        (repository.path / ".git").rename(tmp_path / "away")
    before = local.look(repository.path, cache)
    CHANGES[change](repository.path)
    after = local.look(repository.path, cache)
    assert after.components()["content"] != before.components()["content"]
    assert after.commit == before.commit
    if git:
        repository.git("clean", "-fdq")
        repository.git("checkout", "-q", "--", ".")
        assert local.look(repository.path, cache).components() == before.components()


def test_an_edit_within_the_same_tick_is_noticed(tmp_path, cache):
    place = tmp_path / "d"
    place.mkdir()
    seen = set()
    for n in range(50):
        (place / "f").write_text(f"{n:04d}")
        seen.add(local.look(place, cache).digest)
    assert len(seen) == 50


def test_committing_what_is_there_changes_the_commit_alone(repository, cache):
    (repository.path / "a").write_text("9")
    before = local.look(repository.path, cache)
    repository.commit()
    after = local.look(repository.path, cache)
    assert after.digest == before.digest
    assert after.commit != before.commit


def test_where_it_lies_plays_no_part(repository, cache, tmp_path):
    before = local.look(repository.path, cache).components()
    repository.path.rename(tmp_path / "elsewhere")
    assert local.look(tmp_path / "elsewhere", cache).components() == before


def test_what_git_was_told_to_overlook_is_seen(repository, cache):
    before = local.look(repository.path, cache)
    repository.git("update-index", "--assume-unchanged", "a")
    (repository.path / "a").write_text("9")
    assert local.look(repository.path, cache).digest != before.digest


def test_submodules_that_are_checked_out_belong_to_it(tmp_path, cache):
    inner, outer = Repository(tmp_path / "inner"), Repository(tmp_path / "outer")
    inner.commit(i="1")
    outer.git("submodule", "--quiet", "add", inner.url, "third/inner")
    outer.commit(o="1")
    before = local.look(outer.path, cache)
    assert {"o", "third/inner/i"} <= names(before)
    assert not any(".git" in name.split("/") for name in names(before))
    (outer.path / "third/inner/i").write_text("2")
    after = local.look(outer.path, cache)
    assert after.digest != before.digest and after.changed


def test_a_copy_is_what_was_looked_at(repository, cache, tree):
    (repository.path / "run").write_text("#!/bin/sh\n")
    (repository.path / "run").chmod(0o755)
    (repository.path / "link").symlink_to("run")
    local.copy(local.look(repository.path, cache), tree)
    assert sorted(path.name for path in tree.iterdir()) == [".gitignore", "a", "b", "link", "run"]
    assert (tree / "link").readlink() == Path("run") and os.access(tree / "run", os.X_OK)


def test_an_edit_while_it_is_copied_is_noticed(repository, cache, tree):
    found = local.look(repository.path, cache)
    (repository.path / "a").write_text("other")
    with pytest.raises(BenchError, match="changed while it was copied"):
        local.copy(found, tree)


def test_a_socket_is_refused(tmp_path, cache):
    place = tmp_path / "d"
    place.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(place / "s"))
        with pytest.raises(BenchError, match="s is a socket, pipe or device"):
            local.look(place, cache)


def test_nothing_and_an_empty_directory_are_refused(tmp_path, cache):
    with pytest.raises(BenchError, match="is no directory"):
        local.look(tmp_path / "none", cache)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BenchError, match="has no files"):
        local.look(tmp_path / "empty", cache)


def test_nothing_is_written_into_the_checkout_and_its_hooks_are_not_run(repository, cache, tmp_path):
    hook = repository.path / ".git/hooks/post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o755)
    repository.git("config", "core.fsmonitor", f"touch {tmp_path}/ran; false")
    os.utime(repository.path / "a", (1, 1))
    before = {path: path.lstat().st_mtime_ns for path in (repository.path).rglob("*")}
    local.look(repository.path, cache)
    assert {path: path.lstat().st_mtime_ns for path in (repository.path).rglob("*")} == before
    assert not (tmp_path / "ran").exists()


def test_a_broken_memory_is_no_error(repository, cache):
    before = local.look(repository.path, cache).digest
    for broken in ("", "[]", '{"x": 1}', "null"):
        cache.write_text(broken)
        assert local.look(repository.path, cache).digest == before
