from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpfbench.process import identity

from .conftest import with_package

SCRIPT = """
import json, os, sys
from array import array
from pathlib import Path
from bpfbench.process.batch import run
from bpfbench.process.command import Command, minimal_env
from bpfbench.process.identity import drop, invoker, privileged, remove_tree
from bpfbench.process.reaper import Reaper

base = Path(sys.argv[1])
user = drop()
seen = {"user": user and [user.uid, user.gid, list(user.groups), str(user.home)], "ids": os.getresuid()}
seen["again"] = invoker() == user and drop() == user
mine = base / "mine"
mine.mkdir()
with privileged():
    seen["lifted"] = os.geteuid()
seen["back"] = os.geteuid()

def sh(reaper, name, script, **more):
    command = Command(("/bin/sh", "-c", script), minimal_env("/"), Path("/"), name, **more)
    exit = run(reaper, command, mine / "logs", wall=60)
    assert exit.ok, exit
    return (mine / "logs" / f"{name}.out").read_text().split()

with Reaper("identity-test") as reaper:
    script = "id -u; id -ru; id -G"
    seen["root"] = sh(reaper, "root", script)
    seen["unprivileged"] = sh(reaper, "unprivileged", script, unprivileged=True)
    # AT_SECURE would make a program ignore LD_PRELOAD
    for name, unprivileged in (("secure", False), ("secure-user", True)):
        command = Command(("/bin/cat", "/proc/self/auxv"), minimal_env("/"), Path("/"), name,
                          unprivileged=unprivileged)
        assert run(reaper, command, mine / "logs", wall=60).ok
        words = array("Q", (mine / "logs" / f"{name}.out").read_bytes())
        seen[name] = dict(zip(words[::2], words[1::2]))[23]
    sh(reaper, "files", f"umask 077; mkdir -p {mine}/theirs/deep; touch {mine}/theirs/deep/file")
    seen["deaf"] = sh(reaper, "stop", "(trap '' TERM; sleep 1000) & exit 0")
seen["owner"] = (mine / "logs" / "root.out").stat().st_uid
with privileged():
    seen["theirs"] = (mine / "theirs" / "deep" / "file").stat().st_uid
remove_tree(mine)
seen["removed"] = not mine.exists()
print(json.dumps(seen))
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody can reach and write to."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)
        yield Path(directory)


def _run(place: Path, **sudo: str) -> dict[str, object]:
    env = {key: value for key, value in with_package().items() if not key.startswith("SUDO_")} | sudo
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(place)], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_root
@pytest.mark.parametrize("known", [True, False])
def test_under_sudo_files_are_the_invokers_and_commands_still_roots(place: Path, known: bool) -> None:
    nobody = pwd.getpwnam("nobody")
    uid, gid = (nobody.pw_uid, nobody.pw_gid) if known else (54321, 54322)
    seen = _run(place, SUDO_UID=str(uid), SUDO_GID=str(gid))
    assert seen["user"] == [uid, gid, [gid], nobody.pw_dir if known else "/"]
    assert seen["ids"] == [0, uid, 0]
    assert seen["again"]
    assert (seen["lifted"], seen["back"]) == (0, uid)
    assert seen["root"] == ["0", "0", "0"]
    assert seen["unprivileged"] == [str(uid), str(uid), str(gid)]
    assert (seen["secure"], seen["secure-user"]) == (0, 0)
    assert (seen["owner"], seen["theirs"]) == (uid, 0)
    assert seen["removed"]


@needs_root
@pytest.mark.parametrize("sudo", [{}, {"SUDO_UID": "0", "SUDO_GID": "0"}, {"SUDO_UID": "x", "SUDO_GID": "1"}])
def test_root_itself_stays_root(place: Path, sudo: dict[str, str]) -> None:
    seen = _run(place, **sudo)
    assert seen["user"] is None
    assert seen["ids"] == [0, 0, 0]
    assert seen["unprivileged"] == seen["root"]
    assert (seen["owner"], seen["removed"]) == (0, True)


def test_without_root_nobody_invoked_us(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1000")
    monkeypatch.setenv("SUDO_GID", "1000")
    monkeypatch.setattr(os, "getresuid", lambda: (1000, 1000, 1000))
    assert identity.invoker() is None
    assert identity.drop() is None


def test_removing_follows_no_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(outside)
    identity.remove_tree(inside)
    assert not inside.exists()
    (tmp_path / "link").symlink_to(outside)
    identity.remove_tree(tmp_path / "link")
    identity.remove_tree(tmp_path / "link")
    assert (outside / "file").exists()
