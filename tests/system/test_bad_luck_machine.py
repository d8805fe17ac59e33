"""Bad luck with the machine: no root, no BTF, no uprobes, no compiler, no room, a store that cannot be written, and sudo."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bpfbench.store.store import Store

from .bad_luck import NOBODY, Checkout, as_nobody, copy, give_to, kernel_obstacle, python, until
from .troubles import fill, small_disk

Another = Callable[[Checkout], Checkout]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to become other users, to mount, to hide parts of /sys")
pytestmark = [pytest.mark.system, needs_root]


def hiding(path: str) -> tuple[str, ...]:
    """Return a command before doit that hides a directory from it, and from nobody else."""
    return ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {path} && exec "$@"', "sh")


def without_capabilities() -> tuple[str, ...]:
    return ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


@pytest.fixture
def nobodys(bare: Checkout, another: Another) -> Checkout:
    """A checkout of a user without any rights, who can run our Python."""
    checkout = another(bare)
    give_to(checkout.root.parent, NOBODY)
    return checkout


@pytest.fixture
def nobody() -> Mapping[str, Any]:
    """Options with which doit is run by that user."""
    options = as_nobody()
    if options is None:
        pytest.skip(f"another user cannot run {python()}")
    return options


# Rights -----------------------------------------------------------------------------------------------------


def test_without_root_the_kernel_arm_is_unsupported_and_the_rest_is_measured(nobodys: Checkout, nobody: Mapping[str, Any]) -> None:
    done = nobodys.succeed(**nobody)
    assert nobodys.statuses() == {"entry native": "ok", "entry kernel": "unsupported"}
    reason = nobodys.cell("entry", "kernel")["reason"]
    assert "CAP_BPF" in reason
    assert "sudo" in reason or "root" in reason
    assert reason in done.out
    assert nobodys.result()["status"] == "ok"
    assert "unsupported" in nobodys.shown("report.md").read_text()
    assert nobodys.doit(**nobody).executed == []


def test_root_without_capabilities_is_no_root(built: Checkout, another: Another) -> None:
    checkout = another(built)
    checkout.succeed(wrap=without_capabilities())
    assert checkout.statuses() == {"entry native": "ok", "entry kernel": "unsupported"}
    assert "CAP_" in checkout.cell("entry", "kernel")["reason"]


@pytest.mark.usefixtures("kernel_arm")
def test_what_was_unsupported_is_measured_once_it_is_supported(built: Checkout, another: Another) -> None:
    checkout = another(built)
    checkout.succeed(wrap=hiding("/sys/bus/event_source"))
    assert checkout.statuses() == {"entry native": "ok", "entry kernel": "unsupported"}
    reason = checkout.cell("entry", "kernel")["reason"]
    assert "CONFIG_UPROBE_EVENTS" in reason
    checkout.succeed()
    assert checkout.statuses() == {"entry native": "ok", "entry kernel": "ok"}


@pytest.mark.usefixtures("kernel_arm")
def test_a_kernel_without_btf_will_do(built: Checkout, another: Another) -> None:
    checkout = another(built)
    checkout.succeed(wrap=hiding("/sys/kernel/btf"))
    assert set(checkout.statuses().values()) == {"ok"}


def test_a_machine_without_sysfs_is_refused_with_what_to_type(built: Checkout, another: Another) -> None:
    checkout = another(built)
    done = checkout.fail(wrap=hiding("/sys"))
    assert "mount -t sysfs" in done.said
    checkout.assert_in_order()


def owned_by_root(checkout: Checkout) -> list[Path]:
    return [path for path in (checkout.root, *checkout.root.rglob("*")) if 0 in ((info := path.lstat()).st_uid, info.st_gid)]


def test_under_sudo_nothing_in_the_checkout_belongs_to_root(nobodys: Checkout, nobody: Mapping[str, Any]) -> None:
    checkout = nobodys
    # As ./bench does it: what Python compiles before doit knows who called is not to be kept.
    sudo = {"SUDO_UID": str(NOBODY), "SUDO_GID": str(NOBODY), "SUDO_USER": "nobody", "PYTHONDONTWRITEBYTECODE": "1"}
    as_root = {"interpreter": nobody["interpreter"], "env": {**nobody["env"], **sudo}}
    for command in ("list", "plan"):
        assert checkout.doit(command, **as_root).code == 0
    done = checkout.succeed(**as_root)
    assert {"build_uprobe", "run_tiny", "figure_tiny", "report"} <= set(done.executed)
    assert checkout.statuses() == {"entry native": "ok", "entry kernel": "ok" if kernel_obstacle() is None else "unsupported"}
    assert owned_by_root(checkout) == []
    for command in ("results", "explain"):
        checkout.doit(command, *["run_tiny"] * (command == "explain"), **as_root)
    checkout.fail("build_nothing", **as_root)
    assert owned_by_root(checkout) == []


# Programs ---------------------------------------------------------------------------------------------------


def programs_without(folder: Path, missing: tuple[str, ...]) -> Path:
    """Make a directory that can stand as PATH, with everything but some programs."""
    folder.mkdir()
    for source in ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"):
        for path in Path(source).iterdir() if Path(source).is_dir() else ():
            link = folder / path.name
            if not any(path.name == name or path.name.startswith(f"{name}-") for name in missing) and not os.path.lexists(link):
                link.symlink_to(path)
    return folder


@pytest.mark.parametrize("missing", ["clang", "gcc"])
def test_without_a_compiler_others_are_told_what_to_type(nobodys: Checkout, nobody: Mapping[str, Any], ground: Path, missing: str) -> None:
    path = programs_without(ground / f"without {missing}", (missing,))
    done = nobodys.fail(**{**nobody, "env": {**nobody["env"], "PATH": str(path)}})
    assert f"command {missing}" in done.said
    if Path("/etc/debian_version").exists():
        assert f"sudo apt-get install -y --no-install-recommends {missing}" in done.said
    assert nobodys.items("uprobe") == []
    nobodys.succeed("build_uprobe", **nobody)


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="installs with apt-get: Debian and Ubuntu")
def test_without_a_compiler_root_has_it_installed(bare: Checkout, another: Another, tmp_path: Path) -> None:
    """apt-get is replaced by one that puts the compiler where it is missed: nothing is installed on this machine."""
    checkout = another(bare)
    path = programs_without(tmp_path / "path", ("clang", "apt-get"))
    apt = path / "apt-get"
    clang = shutil.which("clang")
    apt.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/asked"\ncase " $* " in *" install "*) ln -sf "{clang}" "{path}/clang" ;; esac\n')
    apt.chmod(0o755)
    done = checkout.succeed("build_uprobe", env={"PATH": str(path)})
    assert done.executed[-1] == "build_uprobe"
    asked = (tmp_path / "asked").read_text().splitlines()
    assert " install " in f" {asked[-1]} "
    assert asked[-1].split()[-1] == "clang"
    assert len(checkout.items("uprobe")) == 1


@pytest.mark.skipif(not Path("/etc/debian_version").exists(), reason="installs with apt-get: Debian and Ubuntu")
def test_an_installation_that_fails_says_why_and_where_to_look(bare: Checkout, another: Another, tmp_path: Path) -> None:
    checkout = another(bare)
    path = programs_without(tmp_path / "path", ("clang", "apt-get"))
    apt = path / "apt-get"
    apt.write_text('#!/bin/sh\necho "E: no network, no packages"\nexit 100\n')
    apt.chmod(0o755)
    done = checkout.fail("build_uprobe", env={"PATH": str(path), "TMPDIR": str(tmp_path)})
    assert "E: no network, no packages" in done.said
    assert "apt-get install" in done.said
    assert checkout.items("uprobe") == []


# Disks ------------------------------------------------------------------------------------------------------

NO_ROOM = "No space left on device"


@contextmanager
def on_small_disk(template: Checkout, ground: Path) -> Iterator[Checkout]:
    with small_disk(ground / os.urandom(4).hex() / "disk", "64m") as disk:
        yield copy(template, disk / "checkout")


def assert_recovers(checkout: Checkout, filler: Path) -> None:
    filler.unlink()
    checkout.succeed()
    assert set(checkout.statuses().values()) <= {"ok", "unsupported"}


@pytest.mark.parametrize("spare", [0, 60_000])
def test_a_disk_that_is_full_when_building(bare: Checkout, ground: Path, spare: int) -> None:
    with on_small_disk(bare, ground) as checkout:
        filler = fill(checkout.root.parent, spare)
        done = checkout.fail("build_uprobe")
        assert NO_ROOM in done.said
        assert "make room" in done.said
        assert checkout.items("uprobe") == []
        filler.unlink()
        checkout.succeed("build_uprobe")


def test_a_disk_that_fills_up_while_measuring_costs_one_block(built: Checkout, ground: Path) -> None:
    with on_small_disk(built, ground) as checkout:
        checkout.edit("specs/profiles.yaml", "sample_time: 2ms", "sample_time: 100ms")
        running = checkout.start()
        running.until(lambda: checkout.blocks() >= 2)
        filler = fill(checkout.root.parent, 0)
        done = running.wait()
        assert done.code != 0, done.said
        assert "Traceback" not in done.said
        assert NO_ROOM in done.said
        assert "make room" in done.said
        checkout.assert_nothing_left()
        assert checkout.items("measure-tiny") == []
        assert_recovers(checkout, filler)
        assert checkout.result()["timing"]["resumed"] == 1


@pytest.mark.parametrize("spare", [0, 8192])
def test_a_disk_that_is_full_when_measuring(built: Checkout, ground: Path, spare: int) -> None:
    with on_small_disk(built, ground) as checkout:
        filler = fill(checkout.root.parent, spare)
        done = checkout.fail()
        assert NO_ROOM in done.said
        assert checkout.items("measure-tiny") == []
        assert_recovers(checkout, filler)


@pytest.mark.parametrize("spare", [20_000])
def test_a_disk_that_is_full_when_drawing_and_reporting(complete: Checkout, ground: Path, spare: int) -> None:
    with on_small_disk(complete, ground) as checkout:
        for kind in ("figure-tiny", "report"):
            checkout.store.remove(checkout.items(kind)[0].id)
        shutil.rmtree(checkout.root / "results")
        filler = fill(checkout.root.parent, spare)
        done = checkout.fail()
        assert NO_ROOM in done.said
        measured = checkout.made()
        assert_recovers(checkout, filler)
        assert measured.items() <= checkout.made().items()


def test_a_store_on_a_full_disk_of_its_own(built: Checkout, another: Another, ground: Path) -> None:
    checkout = another(built)
    with small_disk(ground / os.urandom(4).hex() / "disk", "1m") as disk:
        filler = fill(disk, 4096)
        done = checkout.fail(f"store={disk}/store", "build_uprobe")
        assert NO_ROOM in done.said
        assert "make room" in done.said
        assert Store(disk / "store").ids() == []
        filler.unlink()
        assert checkout.doit(f"store={disk}/store", "build_uprobe").code == 0


def test_a_read_only_store_serves_what_it_has_and_says_what_it_cannot_take(complete: Checkout, another: Another, ground: Path) -> None:
    checkout = another(complete)
    with small_disk(ground / os.urandom(4).hex() / "disk", "64m") as disk:
        shutil.copytree(checkout.store.root, disk / "store", symlinks=True)
        word = f"store={disk}/store"
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        served = checkout.doit(word)
        assert served.code == 0, served.said
        assert checkout.doit(word).executed == []
        refused = checkout.fail(word, "take=again")
        assert f"the store {disk}/store cannot be written" in refused.said
        assert "Read-only file system" in refused.said
        assert "store=/path" in refused.said


def test_a_read_only_checkout_can_be_looked_at(complete: Checkout, ground: Path) -> None:
    with small_disk(ground / os.urandom(4).hex() / "disk", "64m") as disk:
        checkout = copy(complete, disk / "checkout")
        checkout.succeed()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        rows = json.loads(checkout.doit("results", "--json").out)
        assert {row["arm"] for row in rows} == {"native", "kernel"}
        for command in ("list", "plan"):
            assert checkout.doit(command).code == 0
        done = checkout.doit()
        assert done.code == 3
        assert "Read-only file system" in done.said
        assert "Traceback" not in done.said
        until(lambda: not checkout.processes(), 15.0)
