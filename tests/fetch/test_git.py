"""Commits come out byte for byte, with their submodules, from repositories that allow more or less, without questions."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bpfbench.fetch import git
from bpfbench.fetch.errors import Mismatch, Refused, Unavailable
from bpfbench.store.nar import nar_hash


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    @property
    def url(self) -> str:
        return f"file://{self.path}"

    def git(self, *words: str) -> str:
        env = {
            "PATH": os.environ["PATH"], "HOME": str(self.path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b", "GIT_ALLOW_PROTOCOL": "file",
        }  # fmt: skip
        done = subprocess.run(
            ["git", "-c", "protocol.file.allow=always", *words], cwd=self.path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, **files: str) -> str:
        for name, content in files.items():
            (self.path / name).write_text(content)
        self.git("add", "-A")
        self.git("commit", "-qm", "m", "--allow-empty")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "origin")


def obtain(url, tools, tree, ref="main", **fields):
    return git.obtain({"url": url, **fields}, ref, tree, tools)


def test_a_pinned_commit_comes_out_whatever_the_branch_is_now(repository, tools, tree):
    first = repository.commit(a="1")
    repository.commit(a="2")
    got = obtain(repository.url, tools, tree, commit=first)
    assert (tree / "a").read_text() == "1"
    assert (got.revision, got.pin) == (first, {"commit": first})
    assert not (tree / ".git").exists()


@pytest.mark.parametrize("ref", ["main", "light", "annotated"])
def test_branches_and_tags_are_resolved(repository, tools, tree, ref):
    commit = repository.commit(a="1")
    repository.git("tag", "light")
    repository.git("tag", "-a", "annotated", "-m", "x")
    assert obtain(repository.url, tools, tree, ref=ref).revision == commit


def test_no_such_branch_is_told(repository, tools, tree):
    repository.commit(a="1")
    with pytest.raises(Unavailable, match="no branch and no tag called release"):
        obtain(repository.url, tools, tree, ref="release")


def test_files_come_out_as_they_are_committed_whatever_attributes_say(repository, tools, tree):
    (repository.path / ".gitattributes").write_text(
        "*.txt text eol=crlf\nversion export-subst ident\nhidden export-ignore\n*.bin filter=lfs diff=lfs merge=lfs\n"
    )
    commit = repository.commit(**{"a.txt": "line\n", "version": "$Format:%H$ $Id$\n", "hidden": "there", "x.bin": "pointer"})
    obtain(repository.url, tools, tree, commit=commit)
    assert (tree / "a.txt").read_bytes() == b"line\n"
    assert (tree / "version").read_bytes() == b"$Format:%H$ $Id$\n"
    assert (tree / "hidden").read_text() == "there"
    assert (tree / "x.bin").read_text() == "pointer"


def test_modes_and_symlinks_are_kept(repository, tools, tree):
    (repository.path / "run").write_text("#!/bin/sh\n")
    (repository.path / "run").chmod(0o755)
    (repository.path / "link").symlink_to("run")
    obtain(repository.url, tools, tree, commit=repository.commit())
    assert os.access(tree / "run", os.X_OK) and (tree / "link").readlink() == Path("run")


def test_a_symlink_out_of_the_tree_is_refused(repository, tools, tree):
    (repository.path / "out").symlink_to("../../etc")
    with pytest.raises(Refused, match=r"out: a symlink to ../../etc"):
        obtain(repository.url, tools, tree, commit=repository.commit())


def test_a_server_that_gives_tips_only_still_gives_an_old_commit(repository, tools, tree):
    old = repository.commit(a="old")
    repository.commit(a="new")
    for setting in ("allowAnySHA1InWant", "allowReachableSHA1InWant", "allowTipSHA1InWant"):
        repository.git("config", f"uploadpack.{setting}", "false")
    # Version 2 of the protocol allows every commit: an old server does not speak it.
    settings = git._SETTINGS
    git._SETTINGS = tuple(s.replace("protocol.version=2", "protocol.version=0") for s in settings)
    try:
        obtain(repository.url, tools, tree, commit=old)
    finally:
        git._SETTINGS = settings
    assert (tree / "a").read_text() == "old"


def test_a_commit_that_is_gone_is_told(repository, tools, tree):
    repository.commit(a="1")
    with pytest.raises(Unavailable):
        obtain(repository.url, tools, tree, commit="1" * 40)


def test_a_repository_that_is_not_there_is_told(tmp_path, tools, tree):
    with pytest.raises(Unavailable, match=r"does not appear to be a git repository|does not exist"):
        obtain(f"file://{tmp_path}/nothing", tools, tree)


@pytest.mark.parametrize("url", ["ext::sh -c 'touch /tmp/x'", "--upload-pack=touch /tmp/x", "/some/path", "host:path"])
def test_an_address_that_could_run_something_is_refused(tools, tree, url):
    with pytest.raises(Refused, match="not an address"):
        obtain(url, tools, tree)


def nested(tmp_path):
    """A repository with a submodule that has one itself, addressed relatively."""
    inner, middle, outer = (Repository(tmp_path / "r" / name) for name in ("inner", "middle", "outer"))
    inner.commit(i="inner")
    middle.git("submodule", "--quiet", "add", inner.url, "deps/inner")
    middle.commit(m="middle")
    outer.git("submodule", "--quiet", "add", "../middle", "third/middle")
    outer.git("config", "-f", ".gitmodules", "submodule.third/middle.url", "../middle")
    outer.commit(o="outer")
    return inner, middle, outer


def test_submodules_come_recursively_each_pinned(tmp_path, tools, tree):
    inner, middle, outer = nested(tmp_path)
    got = obtain(outer.url, tools, tree, submodules=True)
    assert (tree / "o").read_text() == "outer"
    assert (tree / "third/middle/m").read_text() == "middle"
    assert (tree / "third/middle/deps/inner/i").read_text() == "inner"
    assert got.submodules == {
        "third/middle": {"url": middle.url, "commit": middle.git("rev-parse", "HEAD")},
        "third/middle/deps/inner": {"url": inner.url, "commit": inner.git("rev-parse", "HEAD")},
    }
    assert git.hashes(tree, got.submodules)["third/middle"] == nar_hash(tree / "third/middle")


def test_without_submodules_their_directories_are_empty(tmp_path, tools, tree):
    got = obtain(nested(tmp_path)[2].url, tools, tree)
    assert list((tree / "third/middle").iterdir()) == []
    assert got.submodules == {}


def test_another_commit_of_a_submodule_names_expected_and_got():
    pinned = {"a": {"commit": "1" * 40}, "b": {"commit": "2" * 40}}
    git.check_submodules(pinned, pinned, "x")
    with pytest.raises(Mismatch, match="x: another commit of the submodule b") as caught:
        git.check_submodules(pinned, {**pinned, "b": {"commit": "3" * 40}}, "x")
    assert (caught.value.expected, caught.value.got) == ("2" * 40, "3" * 40)
    with pytest.raises(Mismatch, match="submodule c"):
        git.check_submodules(pinned, {**pinned, "c": {"commit": "3" * 40}}, "x")


def test_a_password_is_never_asked_for(server, tools, tree):
    def ask(handler):
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="x"')
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    server.answer = ask
    with pytest.raises(Unavailable, match=r"terminal prompts disabled|could not read Username|Authentication failed"):
        obtain(f"{server.url}/x.git", tools, tree)


def test_a_git_server_that_says_nothing_is_given_up_on_and_remembered(server, tools, tree):
    import threading

    stop = threading.Event()
    server.answer = lambda handler: bool(stop.wait(20)) or True
    tools.connect = 0.5
    with pytest.raises(Unavailable, match="no sign of life") as caught:
        obtain(f"{server.url}/x.git", tools, tree)
    assert caught.value.host == server.host
    asked = len(server.requests)
    with pytest.raises(Unavailable, match="no sign of life"):
        obtain(f"{server.url}/x.git", tools, tree)
    assert len(server.requests) == asked
    stop.set()


def test_the_users_configuration_plays_no_part(repository, tools, tree, tmp_path, monkeypatch):
    commit = repository.commit(a="1\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[core]\n\tautocrlf = true\n[url \"file:///nowhere\"]\n\tinsteadOf = file:///\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    obtain(repository.url, tools, tree, commit=commit)
    assert (tree / "a").read_bytes() == b"1\n"


def test_nothing_is_left_behind(repository, make_tools, tree):
    repository.commit(a="1")
    with make_tools() as tools:
        obtain(repository.url, tools, tree)
    assert not tools.work.exists()


def test_what_a_killed_call_left_is_no_hindrance(repository, make_tools, tree):
    repository.commit(a="1")
    with make_tools() as tools:
        place = tools.work / "1-git"
        place.mkdir()
        (place / "HEAD").write_text("rubbish")
        place.chmod(0o500)
        with make_tools(work=tools.work) as again:
            obtain(repository.url, again, tree)


def test_git_that_is_not_here_is_told(repository, tools, tree, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unavailable, match="no program git"):
        obtain(repository.url, tools, tree)
