"""A temporary checkout in which things go wrong, and what must hold afterwards, whatever went wrong.

The copy runs its own code: doit is started in it with ``python -m doit``, so that it comes first on ``sys.path``. Its specs are
cut down to one experiment that takes seconds.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from bpfbench.store.locks import Flock
from bpfbench.store.store import Item, Store
from bpfbench.store.workshop import FOLDERS

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
DEADLINE = 600.0
"""Seconds for anything that has to wait for the machine, which others may be measuring on."""
SOON = 15.0
"""Seconds within which all must be gone that belonged to a killed run: it takes two, on a machine with time to spare."""

_LEFT_OUT = (
    ".git",
    ".venv",
    ".bench",
    "results",
    "vendor",
    "tests",
    "benchmarks",
    "embedded",
    ".doit.db*",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
)
_SPECS = ("system.yaml", "packages/uprobe.yaml", "runtimes/native.yaml", "runtimes/kernel.yaml")

PROFILES = """\
default: tiny

profiles:
  tiny:
    title: for tests of what can go wrong
    blocks: {least: 7, most: 7, warmup: 1}
    half_width: 50%
    equivalence: 5%
    budget: 60s
    sample_time: 2ms
    figures: [svg]
"""

EXPERIMENT = """\
experiment: tiny
title: As small as it gets
description: for tests of what can go wrong
driver: probe_pair
packages: [uprobe]
baseline: native
arms: [native, kernel]
metrics:
  - {metric: time, title: time per call, unit: ns, per: call, direction: lower, primary: true}
  - {metric: time_mean, title: mean time per call, unit: ns, per: call, direction: lower}
groups:
  - {group: hooks, title: Hooks}
cases:
"""

ENTRY = {"function": "bench_push", "first_instruction": "push", "attach": ["uprobe:at_entry:bench_push"]}
"""Parameters of the one case that there always is, ``entry``."""


def python() -> str:
    """Return the interpreter of an environment in which our doit commands are installed."""
    if any(name == "bpfbench" for name in _entry_points()):
        return sys.executable
    return str(ROOT / ".venv" / "bin" / "python")


def _entry_points() -> list[str]:
    return [point.module.partition(".")[0] for point in importlib.metadata.entry_points(group="doit.COMMAND")]


@functools.cache
def obstacle() -> str | None:
    """Say what keeps these tests from running here."""
    if not Path(python()).exists():
        return "no environment with our doit commands: run the tests with ./bench test"
    missing = [name for name in ("clang", "gcc") if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


@functools.cache
def kernel_obstacle() -> str | None:
    """Say what keeps the kernel arm from being measured here."""
    if os.geteuid() != 0:
        return "needs root: loading BPF programs and attaching uprobes"
    command = [python(), "-m", "bpfbench.measure.prerequisites", "kernel-bpf", "kernel-uprobes", "kernel-jit"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    return None if done.returncode == 0 else done.stdout


AS_NOBODY = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


@functools.cache
def as_nobody() -> Mapping[str, Any] | None:
    """Return the options for ``Checkout.start`` to do something as a user without rights; None if nobody can run our Python."""
    own = python()
    packages = sorted((Path(own).parent.parent / "lib").glob("python3.*/site-packages"))
    ways: list[tuple[str, dict[str, str]]] = [(own, {})] + [
        (f"/usr/bin/{place.parent.name}", {"PYTHONPATH": str(place)}) for place in packages
    ]
    for interpreter, env in ways:
        # Twice: setpriv still has the right to reach everything when it executes, what it executes has not.
        command = [*AS_NOBODY, "env", interpreter, "-c", "import doit, yaml, numpy, matplotlib, jsonschema"]
        with suppress(OSError):
            if subprocess.run(command, cwd="/", env={**_environment(), **env}, capture_output=True, check=False).returncode == 0:
                return {"wrap": AS_NOBODY, "interpreter": interpreter, "env": env}
    return None


@dataclass(frozen=True)
class Done:
    """How a doit ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        return self.out + self.err

    @property
    def executed(self) -> list[str]:
        """The tasks that were executed."""
        return [line[2:].partition(":")[0] for line in self.out.splitlines() if line.startswith("▶ ")]


class Running:
    """A doit under way, in a session of its own."""

    def __init__(self, checkout: Checkout, process: subprocess.Popen[bytes], out: IO[bytes], err: IO[bytes]) -> None:
        self.checkout, self.process, self._out, self._err = checkout, process, out, err

    @property
    def pid(self) -> int:
        return self.process.pid

    def said(self) -> str:
        return _content(self._out)

    def until(self, happened: Callable[[], object], pause: float = 0.005) -> None:
        """Wait until something has happened; that doit ends before it is a failure."""
        until(lambda: happened() or self.process.poll() is not None, DEADLINE, pause)
        assert happened(), _content(self._out) + _content(self._err)

    def until_started(self, task: str) -> None:
        self.until(lambda: f"▶ {task}:" in self.said())

    def until_noted(self, task: str, words: str) -> None:
        """Wait until the task's progress says these words."""
        self.until(lambda: words in self.checkout.note(task))

    def wait(self, timeout: float = DEADLINE) -> Done:
        try:
            code = self.process.wait(timeout)
        finally:
            self.end()
        return Done(code, _content(self._out), _content(self._err))

    def end(self) -> None:
        """Kill it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _content(file: IO[bytes]) -> str:
    """Return what a process has written so far, without moving the place at which it writes."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode("utf-8", "replace")


@dataclass(frozen=True)
class Checkout:
    """A copy of the working tree."""

    root: Path

    # what is done in it

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        wrap: Sequence[str] = (),
        interpreter: str | None = None,
        cwd: Path | None = None,
        noise: bool = True,
    ) -> Running:
        """Start doit; ``wrap`` is a command that goes before it, for other users and namespaces."""
        words = ["noise=accept"] if noise else []
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        dodo = [] if cwd is None else ["-f", str(self.root / "dodo.py")]
        environment = {**_environment(), **({} if cwd is None else {"PYTHONPATH": str(self.root), "BENCH_CWD": str(cwd)}), **(env or {})}
        process = subprocess.Popen(
            [*wrap, interpreter or python(), "-m", "doit", *_with_dodo(arguments, dodo), *words], cwd=cwd or self.root, env=environment,
            stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
        )  # fmt: skip
        return Running(self, process, out, err)

    def doit(self, *arguments: str, timeout: float = DEADLINE, **options: Any) -> Done:
        """Run doit to its end."""
        return self.start(*arguments, **options).wait(timeout)

    def succeed(self, *arguments: str, **options: Any) -> Done:
        """Run doit, which must succeed and leave everything in order."""
        done = self.doit(*arguments, **options)
        assert done.code == 0, done.said
        assert "Traceback" not in done.said
        self.assert_in_order()
        return done

    def fail(self, *arguments: str, code: int | None = None, **options: Any) -> Done:
        """Run doit, which must fail, without a traceback, and leave nothing running."""
        done = self.doit(*arguments, **options)
        assert done.code != 0 if code is None else done.code == code, f"exit status {done.code}\n{done.said}"
        assert "Traceback" not in done.said, done.said
        self.assert_nothing_left()
        return done

    # specs

    def write_cases(self, **cases: Mapping[str, Any]) -> None:
        """Write the experiment with the case ``entry`` and these."""
        listed = [
            {"case": name, "title": name, "group": "hooks", "attaches": ["uprobe"], "params": dict(params)}
            for name, params in {"entry": ENTRY, **cases}.items()
        ]
        self.spec("experiments/tiny.yaml").write_text(EXPERIMENT + yaml.safe_dump(json.loads(json.dumps(listed)), sort_keys=False))

    def spec(self, name: str) -> Path:
        return self.root / "specs" / name

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace text, which must be there, in one of the checkout's files."""
        path = self.root / name
        text = path.read_text()
        assert before in text, f"{name} has no {before!r} any more"
        path.write_text(text.replace(before, after))

    # what is there

    @property
    def state(self) -> Path:
        return self.root / ".bench"

    @property
    def store(self) -> Store:
        return Store(self.root / "vendor" / "store")

    @property
    def mark(self) -> str:
        return "bpfbench-" + hashlib.sha256(str(self.root).encode()).hexdigest()[:16]

    def shown(self, name: str, store: str = "*") -> Path:
        """Return the one file of this name in results/."""
        (path,) = (self.root / "results").glob(f"*/{store}/{name}")
        return path

    def result(self, place: str = "*") -> dict[str, Any]:
        return dict(json.loads(self.shown("tiny.json", place).read_bytes()))

    def cell(self, case: str, arm: str) -> dict[str, Any]:
        (cell,) = [cell for cell in self.result()["cells"] if (cell["case"], cell["arm"]) == (case, arm)]
        return dict(cell)

    def statuses(self) -> dict[str, str]:
        return {f"{cell['case']} {cell['arm']}": cell["status"] for cell in self.result()["cells"]}

    def items(self, kind: str) -> list[Item]:
        """Return the items of a kind, such as ``measure-tiny`` or ``uprobe``."""
        return [item for item in self.store.items() if item.id[33:] == kind]

    def records(self) -> list[dict[str, Any]]:
        """Return the records of the journal that is being written."""
        lines = [line for path in self.state.glob("journals/*/journal.jsonl") for line in path.read_bytes().splitlines(keepends=True)]
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def blocks(self) -> int:
        """Return the number of finished counted blocks in the journal that is being written."""
        with suppress(OSError, ValueError):
            return sum(record["kind"] == "block" and record["block"] > 0 for record in self.records())
        return 0

    def note(self, task: str) -> str:
        """Return what the progress of a task says."""
        with suppress(OSError, ValueError):
            return str(json.loads((self.state / "progress" / f"{task}.json").read_bytes())["note"])
        return ""

    def made(self) -> dict[str, tuple[int, int]]:
        """Return item id → what tells one making of it from another."""
        return {item.id: ((info := (item.path / "tree").stat()).st_ino, info.st_ctime_ns) for item in self.store.items()}

    # what must hold

    def processes(self) -> list[str]:
        """Return the living processes that carry this checkout's mark, stand in it or have been told of it."""
        return [f"{path.name} {_command(path)}" for path in Path("/proc").iterdir() if path.name.isdecimal() and self._is_ours(path)]

    def _is_ours(self, process: Path) -> bool:
        with suppress(OSError):
            if int(process.name) == os.getpid() or (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return False
            place = os.fsencode(self.root)
            words = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            stands = str((process / "cwd").readlink())
            return self.mark.encode() in words or place in words or stands.startswith(str(self.root))
        return False

    def assert_nothing_left(self) -> None:
        """No process, no mount, no shared memory and no lock stays behind."""
        until(lambda: not self.processes(), SOON)
        assert self.processes() == []
        assert [line for line in Path("/proc/mounts").read_text().splitlines() if _escaped(self.root / ".bench") in line] == []
        assert [path for path in Path("/dev/shm").iterdir() if path.name.startswith(self.mark)] == []
        if self.state.is_dir():
            with Flock(self.state) as lock:
                assert lock.try_take()

    def assert_in_order(self) -> None:
        """Nothing is left running, and nothing half-written: every item is whole, and there is nothing else."""
        self.assert_nothing_left()
        for item in self.store.items():
            assert self.store.verify(item) == []
        if self.store.root.is_dir():
            assert {path.name for path in self.store.root.iterdir()} - {*FOLDERS} == set(self.store.ids())
        for place in ("work", "progress", "journals"):
            folder = self.state / place
            left = list(folder.iterdir()) if folder.is_dir() else []
            assert left == [], f"left in {place}: {left}"
        assert self.temporaries() == [], f"temporary files: {self.temporaries()}"

    def temporaries(self) -> list[Path]:
        """Return temporary files, which are all hidden ones but the two that are there to stay."""
        return [path for path in self.root.rglob(".*") if path.name not in (".bench", ".doit.db", ".gitignore", ".ci")]

    def has_one_measurement(self) -> bool:
        return len(self.items("measure-tiny")) == 1


_COMMANDS = (
    "run", "list", "results", "plan", "explain", "forget", "clean", "verify", "gc", "export", "import", "lock",
)  # fmt: skip


def _with_dodo(arguments: Sequence[str], dodo: list[str]) -> list[str]:
    """Return the arguments with ``-f`` behind the name of the command."""
    if not dodo:
        return list(arguments)
    if arguments and arguments[0] in _COMMANDS:
        return [arguments[0], *dodo, *arguments[1:]]
    return ["run", *dodo, *arguments]


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8"}


def _command(process: Path) -> str:
    with suppress(OSError):
        return (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _escaped(path: Path) -> str:
    return str(path).replace(" ", "\\040")


def until(happened: Callable[[], object], deadline: float, pause: float = 0.02) -> bool:
    """Wait until something has happened; say whether it has before ``deadline`` seconds are over."""
    end = time.monotonic() + deadline
    while not happened():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def kill(pid: int, number: int) -> None:
    """Send a signal; that the process has ended just now is no harm."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def kill_group(pid: int) -> None:
    """SIGKILL to a process group that a test started."""
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def make_template(place: Path) -> Checkout:
    """Copy the working tree to ``place`` with the small specs."""
    shutil.copytree(ROOT, place, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)
    for path in sorted((place / "specs").rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(place / "specs").as_posix() not in _SPECS:
            path.unlink()
    checkout = Checkout(place)
    # Python 3.11 keeps half a file when the disk is full while it writes what it has compiled: not what is tested here.
    subprocess.run([python(), "-m", "compileall", "-q", place / "bpfbench", place / "tasks"], check=True)
    (place / "specs" / "experiments").mkdir(exist_ok=True)
    checkout.spec("profiles.yaml").write_text(PROFILES)
    checkout.write_cases()
    return checkout


def copy(template: Checkout, to: Path) -> Checkout:
    """Copy a checkout with all that was made in it."""
    shutil.copytree(template.root, to, symlinks=True)
    return Checkout(to)


def give_to(place: Path, uid: int) -> None:
    """Let everything below ``place`` belong to a user."""
    for path in (place, *place.rglob("*")):
        os.chown(path, uid, uid, follow_symlinks=False)
