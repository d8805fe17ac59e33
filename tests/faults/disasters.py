"""Everything but kills: disks, clocks, others at work, and bytes that are not what they were."""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bpfbench.store.store import Store

from ..system.bad_luck import Checkout, Running, kill
from ..system.troubles import fill, small_disk
from .kills import STAGES, take_away
from .mirror import LIES
from .trials import Scenario
from .world import World, ensure, finished, whole

_REFUSED = 3
_DAMAGED = 1
_JUMPS = (-10 * 365 * 86400, -86400, -3600, -5, 5, 3600, 86400, 5 * 365 * 86400)


def scenarios() -> list[Scenario]:
    """Return them."""
    return [
        Scenario("tampered", "bytes changed, cut off, added or lost anywhere", tampered),
        Scenario("mirrors", "mirrors that lie or end early", lying),
        Scenario("full-disk", "a disk that is full", full_disk, _no_root),
        Scenario("read-only", "a store that cannot be written", read_only, _no_root),
        Scenario("clock", "a clock that jumps", clock),
        Scenario("same-checkout", "two or four doits in one checkout", same_checkout),
        Scenario("shared-store", "two or four checkouts with one store, and kills", shared_store),
        Scenario("gc", "gc --delete beside runs", collecting),
    ]


def _no_root() -> str | None:
    return None if os.geteuid() == 0 else "needs root, to mount"


def _fails_well(code: int, said: str, what: str) -> None:
    ensure("Traceback" not in said, f"{what}: doit said:\n{said}")
    ensure(code >= 0, f"{what}: doit was ended by a signal:\n{said}")


# Bytes ------------------------------------------------------------------------------------------------------


def tampered(world: World, rng: random.Random) -> str:
    """Change something that nobody but doit should change: it is noticed, and made again."""
    checkout = world.used
    ensure(world.doit(checkout, "gc", "--delete", noise=False).code == 0, "gc failed")
    what = rng.choice(["item", "item", "item", "manifest", "pointer", "shown", "database", "cache", "journal"])
    if what == "journal":
        _interrupt_measuring(world, checkout)
    before = {item.id: item.hash for item in checkout.store.items()}
    places = sorted(_places(checkout, what))
    ensure(places, f"there is no {what}")
    path = rng.choice(places)
    how = _damage(path, rng)
    name = path.relative_to(checkout.root).as_posix()
    if what in ("item", "manifest"):
        verified = world.doit(checkout, "verify", noise=False)
        item = next(part for part in path.parts if part in before)
        told = verified.code == _DAMAGED and item in verified.out
        ensure(told, f"verify does not tell of {name} ({how}):\n{verified.said}")
    world.recover(checkout)
    verified = world.doit(checkout, "verify", noise=False)
    ensure(verified.code == 0, f"after {how} of {name}:\n{verified.said}")
    lost = before.keys() - set(checkout.store.ids())
    ensure(not lost, f"{how} of {name} lost {lost}")
    return f"{how} of {name[-70:]}"


def _interrupt_measuring(world: World, checkout: Checkout) -> None:
    """Kill doit when it has measured a little, so that there is a journal to go on with."""
    take_away(checkout, "measure")
    running = world.start(checkout)
    running.until(lambda: checkout.blocks() > 0)
    kill(running.pid, signal.SIGKILL)
    finished(running)
    ensure(checkout.blocks() > 0, "the journal of a killed run is gone")


def _places(checkout: Checkout, what: str) -> Iterator[Path]:
    items = checkout.store.root
    found = {
        "item": lambda: items.glob("*/tree/**/*"),
        "manifest": lambda: items.glob("*/manifest.json"),
        "pointer": (checkout.state / "pointers").iterdir,
        "shown": lambda: (checkout.root / "results").rglob("*.*"),
        "journal": lambda: checkout.state.glob("journals/*/journal.jsonl"),
        "database": lambda: checkout.root.glob(".doit.db*"),
        "cache": lambda: (path for path in checkout.state.rglob("*.json") if path.parent.name not in ("pointers", "journals")),
    }[what]()
    return (path for path in found if path.is_file() and not path.is_symlink() and path.stat().st_size)


def _damage(path: Path, rng: random.Random) -> str:
    """Damage a file, as hidden as can be; return in what way."""
    info, folder = path.stat(), path.parent.stat()
    how = rng.choice(["a changed byte", "a cut", "the loss", "an addition", "zeros"])
    data = bytearray(path.read_bytes())
    path.parent.chmod(0o755)
    if how == "the loss":
        path.unlink()
    else:
        at = rng.randrange(len(data))
        if how == "a changed byte":
            data[at] ^= 1 << rng.randrange(8)
        elif how == "a cut":
            del data[at:]
        elif how == "an addition":
            data += rng.randbytes(rng.randrange(1, 100))
        else:
            data[at : at + 4096] = bytes(len(data[at : at + 4096]))
            data[at] ^= 1 if not bytes(path.read_bytes())[at] else 0
        path.chmod(0o644)
        path.write_bytes(data)
        path.chmod(info.st_mode & 0o7777)
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    path.parent.chmod(folder.st_mode & 0o7777)
    return how


def lying(world: World, rng: random.Random) -> str:
    """Fetch from mirrors of which one or both do not give what they should."""
    checkout = world.used
    take_away(checkout, "fetch")
    both = rng.random() < 0.4
    lies = {"one": rng.choice(LIES), "two": rng.choice(LIES) if both else ""}
    world.mirrors.lies = lies
    try:
        done = world.doit(checkout, "fetch_mirrored")
    finally:
        world.mirrors.lies = {}
    _fails_well(done.code, done.said, f"mirrors that are {lies}")
    whole(checkout.store)
    honest = not both or "slow" in lies.values()
    ensure((done.code == 0) == honest, f"with mirrors that are {lies}, doit ended with {done.code}:\n{done.said}")
    ensure(
        done.code == 0 or "mirrored" in done.said,
        f"with mirrors that are {lies}, doit said only:\n{done.said}",
    )
    ensure(world.doit(checkout, "fetch_mirrored").code == 0, "what was fetched from good mirrors is refused")
    world.recover(checkout)
    return f"one is {lies['one']}, two is {lies['two'] or 'good'}"


# Disks ------------------------------------------------------------------------------------------------------


def full_disk(world: World, rng: random.Random) -> str:
    """Let the disk of a checkout be full at a random point; then make room."""
    stage = rng.choice(list(STAGES))
    place = world.folder() / "disk"
    with small_disk(place, "64m"):
        checkout = Checkout(place / "checkout ü")
        shutil.copytree(world.complete.root, checkout.root, symlinks=True)
        world.recover(checkout)
        take_away(checkout, stage)
        spare = rng.choice([0, rng.randrange(200_000), rng.randrange(6_000_000)])
        filler = fill(place, spare)
        done = world.doit(checkout)
        _fails_well(done.code, done.said, f"a full disk ({spare} bytes free, {stage})")
        ensure(
            done.code == 0 or "space" in done.said or "disk is full" in done.said,
            f"a full disk ({spare} bytes free, {stage}), but doit said:\n{done.said}",
        )
        whole(checkout.store)
        filler.unlink()
        world.recover(checkout)
    return f"{spare} bytes free while doit was at {stage}: ended with {done.code}"


def read_only(world: World, rng: random.Random) -> str:
    """Let the store be read-only: what is there can be used, what is not is refused; then let it be written."""
    stage = rng.choice(["", *STAGES])
    with world.borrowed(world.complete) as checkout:
        world.recover(checkout)
        if stage:
            take_away(checkout, stage)
        with _bound_read_only(checkout.store.root):
            done = world.doit(checkout)
        _fails_well(done.code, done.said, f"a read-only store ({stage or 'nothing to do'})")
        ensure(
            (done.code == 0) == (not stage),
            f"a read-only store, {stage or 'nothing'} to do: {done.code}\n{done.said}",
        )
        ensure(not stage or "Read-only" in done.said, f"a read-only store, but doit said:\n{done.said}")
        world.recover(checkout)
    return f"with {stage or 'nothing'} to do: ended with {done.code}"


@contextmanager
def _bound_read_only(path: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", path, path], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def clock(world: World, rng: random.Random) -> str:
    """Let the clock be wrong, and jump while doit runs; then let it be right again."""
    checkout, stage = world.used, rng.choice(list(STAGES))
    take_away(checkout, stage)
    first, second = (rng.choice(_JUMPS) for _ in range(2))
    library, offset = world.place / "clock.so", world.place / "clock"
    if not library.exists():
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source], check=True)
    offset.write_bytes(struct.pack("l", first))
    running = world.start(checkout, env={"LD_PRELOAD": str(library), "FAULTS_CLOCK": str(offset)})
    time.sleep(rng.uniform(0.2, 4.0))
    with offset.open("r+b") as file:  # in place: doit looks at the very same bytes
        file.write(struct.pack("l", second))
    done = finished(running)
    ensure(done.code == 0, f"a clock {first} s wrong, then {second} s: {done.code}\n{done.said}")
    world.in_order(checkout, checkout.store)
    again = world.recover(checkout)
    ensure(not again.executed, f"with the right time, made again: {again.executed}")
    return f"{first:+d} s, then {second:+d} s, while doit was at {stage}"


# Others at work ---------------------------------------------------------------------------------------------


def same_checkout(world: World, rng: random.Random) -> str:
    """Start several doits in one checkout: one works, the others are told so, or work after it."""
    checkout, stage, count = world.used, rng.choice(list(STAGES)), rng.choice([2, 4])
    take_away(checkout, stage)
    runs = []
    for _ in range(count):
        runs.append(world.start(checkout))
        time.sleep(rng.choice([0.0, rng.uniform(0.0, 2.0)]))
    done = [finished(running) for running in runs]
    for each in done:
        _fails_well(each.code, each.said, f"{count} doits in one checkout")
        ensure(
            each.code in (0, _REFUSED),
            f"{count} doits in one checkout: one ended with {each.code}:\n{each.said}",
        )
        ensure(each.code == 0 or "in use by" in each.said, f"refused with:\n{each.said}")
    ensure(any(each.code == 0 for each in done), "nobody succeeded:\n" + done[0].said)
    ensure(not (again := world.recover(checkout)).executed, f"made again: {again.executed}")
    return f"{count} doits at {stage}: {sum(each.code == 0 for each in done)} worked"


def shared_store(world: World, rng: random.Random) -> str:
    """Let several checkouts make the same things in one store at once; some are killed on the way."""
    count, killed = rng.choice([2, 4]), 0
    with ExitStack() as stack:
        checkouts = [stack.enter_context(world.borrowed(world.bare)) for _ in range(count)]
        place = world.folder() / "store ü"
        words = ("run", "-n", str(rng.choice([1, 2])), f"store={place}")
        runs = [world.start(checkout, *words) for checkout in checkouts]
        for running in rng.sample(runs, rng.randrange(count)):
            killed += _kill_sometime(running, rng.uniform(0.0, 6.0))
        for running in runs:
            done = finished(running)
            ensure(done.code in (0, -signal.SIGKILL), f"beside {count - 1} others: {done.code}\n{done.said}")
        for checkout in checkouts:
            world.recover(checkout, *words)
        _no_twins(Store(place))
        shutil.rmtree(place.parent)
    return f"{count} checkouts, {killed} killed"


def _kill_sometime(running: Running, pause: float) -> bool:
    time.sleep(pause)
    if running.process.poll() is None:
        kill(running.pid, signal.SIGKILL)
        return True
    return False


def _no_twins(store: Store) -> None:
    """Builds and samples were made once for all checkouts, which proves that no path of theirs is in a key."""
    names = [item.id[33:] for item in store.items() if item.id[33:] in ("uprobe", "small", "mirrored", "cloned")]
    ensure(sorted(names) == ["cloned", "mirrored", "small", "uprobe"], f"in the shared store: {sorted(names)}")


def collecting(world: World, rng: random.Random) -> str:
    """Remove what nobody needs, again and again, while others make and use things."""
    with ExitStack() as stack:
        one, two = (stack.enter_context(world.borrowed(world.bare)) for _ in range(2))
        place = world.folder() / "store"
        word = f"store={place}"
        runs = [world.start(checkout, "run", word) for checkout in (one, two)]
        rounds = 0
        while any(running.process.poll() is None for running in runs):
            time.sleep(rng.uniform(0.0, 1.0))
            done = world.doit(rng.choice([one, two]), "gc", "--delete", word, noise=False)
            _fails_well(done.code, done.said, "gc beside runs")
            ensure(done.code == 0, f"gc beside runs ended with {done.code}:\n{done.said}")
            rounds += 1
        for running in runs:
            done = finished(running)
            ensure(done.code == 0, f"beside gc: {done.code}\n{done.said}")
        for checkout in (one, two):
            world.recover(checkout, "run", word)
        kept = set(Store(place).ids())
        world.doit(one, "gc", "--delete", word, noise=False)
        world.recover(two, "run", word)
        needed = set(Store(place).ids())
        ensure(
            needed <= kept and not world.doit(two, "run", word).executed,
            "gc removed what another checkout needs",
        )
        shutil.rmtree(place)
    return f"{rounds} rounds of gc"
