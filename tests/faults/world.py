"""Where the campaign takes place: a small checkout, doits that see a /tmp and a /dev/shm of their own, and what must hold.

What a doit and all below it leave in /tmp or as shared memory is found whoever made it, and cannot be confused with what others do
on this machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from bpfbench.store.audit import audit, strays
from bpfbench.store.store import Store

from ..system.bad_luck import DEADLINE, SOON, Checkout, Done, Running, copy, make_template, obstacle, until
from .mirror import Mirrors

NAME = "faults, ü and ✓"
_PRIVATE = 'mount --bind "$1" /tmp && mount --bind "$2" /dev/shm && shift 2 && exec "$@"'
_URL = "^https://[^\\\\s/]+/\\\\S*$"
"""What the schemas demand of addresses: ours are on this machine."""


class Broken(Exception):
    """Something that must hold did not."""


def ensure(holds: object, said: str) -> None:
    """Raise ``Broken`` unless it holds."""
    if not holds:
        raise Broken(said)


class World:
    """Checkouts to break, below one directory that goes in the end."""

    def __init__(self) -> None:
        if why := obstacle():
            raise Broken(why)
        # Not in /tmp, which is another one for what is started here.
        self.place = Path(tempfile.mkdtemp(prefix="bpfbench-faults-", dir="/var/tmp"))
        self.place.chmod(0o755)
        self._number = 0
        self._bare: Checkout | None = None
        self._complete: Checkout | None = None
        self._used: Checkout | None = None
        self.temporary, self.memory = (self.place / name for name in ("tmp", "shm"))
        for folder in (self.temporary, self.memory):
            folder.mkdir()
            folder.chmod(0o1777)
        self.mirrors = Mirrors(self.place)
        self.bystander = subprocess.Popen(["sleep", "100000"], start_new_session=True)

    def close(self) -> None:
        """End the bystander and delete everything."""
        self.bystander.kill()
        self.bystander.wait()
        self.mirrors.close()
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def wrap(self) -> tuple[str, ...]:
        """The command that gives the next one its own /tmp and /dev/shm, and then becomes it."""
        if os.geteuid() != 0:
            return ()
        return (
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            _PRIVATE,
            "sh",
            str(self.temporary),
            str(self.memory),
        )

    # checkouts

    def folder(self) -> Path:
        """Return a new directory."""
        self._number += 1
        place = self.place / str(self._number)
        place.mkdir()
        return place

    @property
    def bare(self) -> Checkout:
        """A checkout in which nothing was made, to be copied."""
        if self._bare is None:
            self._bare = make_template(self.folder() / NAME)
            self._add_sources(self._bare)
        return self._bare

    def _add_sources(self, checkout: Checkout) -> None:
        """Let the experiment need a package that is built from two sources."""
        for name, text in self.mirrors.specs().items():
            checkout.spec(name).parent.mkdir(exist_ok=True)
            checkout.spec(name).write_text(text)
        checkout.edit("specs/experiments/tiny.yaml", "packages: [uprobe]", "packages: [uprobe, small]")
        checkout.edit("schemas/source.json", _URL, "^\\\\S+$")
        done = self.doit(checkout, "lock", noise=False)
        ensure(done.code == 0, f"the sources cannot be locked:\n{done.said}")

    @property
    def complete(self) -> Checkout:
        """A checkout in which all is done, to be copied."""
        if self._complete is None:
            self._complete = copy(self.bare, self.folder() / NAME)
            self.recover(self._complete)
        return self._complete

    @property
    def used(self) -> Checkout:
        """A checkout in which all is done, with a past: one trial after the other breaks it."""
        if self._used is None:
            self._used = self.another(self.complete)
            self.recover(self._used)
        return self._used

    def give_up(self) -> None:
        """Let the next trial begin with a new checkout: this one could not be put right."""
        self._used = None

    def another(self, template: Checkout) -> Checkout:
        """Return a copy of a checkout."""
        return copy(template, self.folder() / NAME)

    @contextmanager
    def borrowed(self, template: Checkout) -> Iterator[Checkout]:
        """Lend a copy of a checkout, deleted afterwards."""
        checkout = self.another(template)
        try:
            yield checkout
        finally:
            shutil.rmtree(checkout.root.parent, ignore_errors=True)

    # doits

    def start(self, checkout: Checkout, *words: str, **options: Any) -> Running:
        """Start a doit."""
        return checkout.start(*words, wrap=(*options.pop("before", ()), *self.wrap), **options)

    def doit(self, checkout: Checkout, *words: str, **options: Any) -> Done:
        """Run a doit to its end, which has to come."""
        return finished(self.start(checkout, *words, **options))

    def recover(self, checkout: Checkout, *words: str) -> Done:
        """Run the next doit, which must succeed and leave everything in order."""
        done = self.doit(checkout, *words)
        ensure(done.code == 0, f"the next doit ended with {done.code}:\n{done.said}")
        ensure("Traceback" not in done.said, f"the next doit said:\n{done.said}")
        cells = checkout.result().get("cells", [])
        bad = [f"{cell['case']} {cell['arm']}: {cell['reason']}" for cell in cells if cell["status"] not in ("ok", "unsupported")]
        ensure(cells and not bad, f"cells that are not ok: {bad}")
        self.in_order(checkout, Store(_store(words) or checkout.store.root))
        return done

    # what must hold

    def inmates(self) -> list[str]:
        """Return the living processes that see the doits' /tmp: all that a doit ever started, and nobody else.

        With no process left there is no mount (theirs are their own), no port and no lock either.
        """
        return [told for path in Path("/proc").iterdir() if path.name.isdecimal() and (told := self._inmate(path))]

    def _inmate(self, process: Path) -> str:
        with suppress(OSError):
            rows = [line.split() for line in (process / "mountinfo").read_text(errors="replace").splitlines()]
            # Of a mount: what is mounted, as its own file system calls that, and where.
            if any(str(self.temporary).endswith(row[3]) and row[4] == "/tmp" for row in rows if row[3] != "/"):
                return f"{process.name} {(process / 'comm').read_text().strip()}"
        return ""

    def in_order(self, checkout: Checkout, store: Store) -> None:
        """Nothing is left behind, nothing is half-made, and nobody else was harmed."""
        try:
            checkout.assert_in_order()
        except AssertionError as error:
            raise Broken(f"not in order: {str(error)[:2000] or _where(error)}") from error
        until(lambda: not self.inmates(), SOON)
        ensure(not self.inmates(), f"still running, whatever it calls itself: {self.inmates()}")
        whole(store)
        names = [path.name for path in store.root.iterdir() if path.name.startswith(".")]
        ensure(not names, f"left in the store: {names}")
        for place in (self.temporary, self.memory):
            left = sorted(path.name for path in place.iterdir())
            for path in place.iterdir():  # so that the next trial is not blamed for it
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            ensure(not left, f"left in {place.name}: {left}")
        ensure(self.bystander.poll() is None, "a process was killed that nobody had started")


def whole(store: Store) -> None:
    """Every item verifies, to the last byte."""
    damaged = {finding.id: finding.damage for finding in audit(store, store.ids()) if finding.damage}
    ensure(not damaged, f"damaged items: {damaged}")
    ensure(not strays(store), f"in the store: {strays(store)}")


def finished(running: Running) -> Done:
    """Wait for a doit to end; that it does not is a fault."""
    try:
        return running.wait(DEADLINE / 4)
    except subprocess.TimeoutExpired:
        raise Broken(f"doit hangs; it has said:\n{running.said()}") from None


def _store(words: tuple[str, ...]) -> Path | None:
    return next((Path(word.removeprefix("store=")) for word in words if word.startswith("store=")), None)


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return f"line {trace.tb_lineno} of {trace.tb_frame.f_code.co_name}" if trace else "?"
