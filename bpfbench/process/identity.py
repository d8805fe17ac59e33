"""Who called us. Under sudo, files belong to the user who called, and only what needs root runs as root.

``drop`` changes the *effective* ids alone. The real ones stay root's, so that ``privileged`` can lift us
for a moment, such as the one in which a reaper is started.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """A user: numeric ids, supplementary groups, home directory."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: Path


def holds_root() -> bool:
    """Whether this process is root, or can become root again after ``drop``."""
    return 0 in os.getresuid()


def invoker() -> Identity | None:
    """The user who called us through sudo; None when we hold no root, or when root itself called."""
    try:
        uid, gid = int(os.environ["SUDO_UID"]), int(os.environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if not holds_root() or uid <= 0 or gid < 0:
        return None
    try:
        user = pwd.getpwuid(uid)
    except KeyError:  # a container's user without a name
        return Identity(uid, gid, (gid,), Path("/"))
    return Identity(uid, gid, tuple(os.getgrouplist(user.pw_name, gid)), Path(user.pw_dir))


def drop() -> Identity | None:
    """Do all further file work of this process as the invoker; return who that is, None if nobody."""
    user = invoker()
    if user is None or os.geteuid() != 0:
        return user
    os.setgroups(user.groups)
    os.setegid(user.gid)
    os.seteuid(user.uid)
    return user


@contextmanager
def privileged() -> Iterator[None]:
    """Be root again for a moment, if we hold it still. The ids are those of all threads."""
    before = os.geteuid()
    if before == 0 or not holds_root():
        yield
        return
    os.seteuid(0)
    try:
        yield
    finally:
        os.seteuid(before)


def remove_tree(path: Path) -> None:
    """Remove a file or a whole directory, even where a child that ran as root left things that are root's."""
    with privileged():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
