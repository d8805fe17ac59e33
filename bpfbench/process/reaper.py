"""The harness's end of the reaper: start commands, and be sure that they end."""

from __future__ import annotations

import os
import select
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from weakref import WeakSet

from bpfbench.errors import BenchError
from bpfbench.process import forkserver
from bpfbench.process.child import Child, log_paths
from bpfbench.process.command import PATH, Command, signal_name
from bpfbench.process.errors import Lost, NotStarted, ProcessError
from bpfbench.process.identity import invoker, privileged
from bpfbench.process.leftovers import MARK, reap_leftovers
from bpfbench.process.log import Bell

EXIT_DEADLINE = 3.0
"""Seconds for the reaper to end after its last supervisor."""

_mine: WeakSet[Reaper] = WeakSet()


class Reaper:
    """A context in which commands run; when it is left, by whatever way, none of them is alive any more.

    ``mark`` names the run; every child carries it as ``BPFBENCH_MARK``. A reaper belongs to the process that
    made it: in a forked copy of that process it is closed, and using it there is an error.
    """

    def __init__(self, mark: str) -> None:
        if not mark or not mark.isprintable():
            raise BenchError(f"mark {mark!r}: expected a printable name")
        self.mark = mark
        self._owner = os.getpid()
        self._children: set[Child] = set()
        self._free: list[socket.socket] = []
        self._bells: list[Bell] = []

    def __enter__(self) -> Reaper:
        self.check_owner()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(EXIT_DEADLINE)
        harness = os.pidfd_open(self._owner)
        try:
            fds = (theirs.fileno(), harness)
            python = [sys.executable, "-I", "-S", "-X", "utf8", forkserver.__file__]
            with privileged():  # or it could neither run commands as root nor end them
                self._process = subprocess.Popen(
                    [*python, *map(str, fds)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env={MARK: self.mark},
                    pass_fds=fds,
                    start_new_session=True,  # what is typed at the terminal is for the harness
                )
        finally:
            theirs.close()
            os.close(harness)
        _mine.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, command: Command, log_dir: Path) -> Child:
        """Execute ``command``, logging to ``log_dir``; returns when it runs. ``NotStarted`` says why not."""
        self.check_owner()
        order = self._order(command)
        out, err = log_paths(command, log_dir)
        if any({out, err} & {child.out, child.err} for child in self._children):
            raise BenchError(f"{out} is being written by a command that still runs")
        log_dir.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stdout = _create(stack, out)
            stderr = stdout if err == out else _create(stack, err)
            conn = self._supervisor()
            stdin, ours = _stdin(stack, wanted=command.stdin)
            child = Child(command, conn, ours, log_dir, self)
            self._children.add(child)
            try:
                with suppress(ConnectionError):  # why nobody listens is to be heard next
                    forkserver.send(conn, order, (stdin, stdout, stderr))
                child.begin()
            except BaseException:
                child.abandon()
                self._children.discard(child)
                raise
        return child

    def close(self, grace: float = 1.0) -> None:
        """End every child, then the reaper. Does nothing in a forked copy, or the second time."""
        if self not in _mine:
            return
        children = list(self._children)
        failures = []
        for child in children:
            child.ask_to_stop(grace)
        for child in children:
            try:
                child.stop(grace)
            except Lost:
                pass
            except ProcessError as failure:
                failures.append(failure)
                child.abandon()
        self._hang_up()
        if failures:
            raise failures[0]

    @property
    def pid(self) -> int:
        """Process id of the reaper."""
        return self._process.pid

    def check_owner(self) -> None:
        """Raise when this is not the process that made the reaper, but a fork of it."""
        if os.getpid() != self._owner:
            raise BenchError(f"this reaper belongs to process {self._owner}: {os.getpid()} needs its own")

    @contextmanager
    def bell(self, path: Path) -> Iterator[Bell | None]:
        """Lend an inotify instance that watches ``path``; None when the machine has none left."""
        bell = None
        with suppress(OSError):
            bell = self._bells.pop() if self._bells else Bell()
            bell.watch(path)
        try:
            yield bell
        finally:
            if bell:
                bell.unwatch()
                self._bells.append(bell)  # closing one takes the kernel some milliseconds

    def take_back(self, child: Child, conn: socket.socket | None) -> None:
        """Note that a child has ended, and which supervisor is free now."""
        self._children.discard(child)
        if conn:
            self._free.append(conn)

    def sweep(self, supervisor: int) -> None:
        """Wait until nothing is left of what a killed supervisor looked after."""
        try:
            forkserver.send(self._control, supervisor)
            answer = forkserver.receive(self._control)[0]
        except (ConnectionError, TimeoutError):
            answer = None
        if not answer:  # it was killed as well
            self._end()
            self._reap()

    def _reap(self) -> None:
        """If the reaper was killed, end what it can no longer look after."""
        if self._process.returncode:
            reap_leftovers(self.mark)

    def abandon(self) -> None:
        """Close all that this process holds, without a word to the other side, as a forked copy has to."""
        _mine.discard(self)
        self._control.close()
        for child in self._children:
            child.abandon()
        while self._free:
            self._free.pop().close()
        while self._bells:
            self._bells.pop().close()

    def _order(self, command: Command) -> dict[str, object]:
        """What a supervisor has to know."""
        identity = invoker() if command.unprivileged else None
        return {
            "path": _program(command),
            "argv": list(command.argv),
            "env": {**command.env, MARK: self.mark},
            "cwd": str(command.cwd),
            "cpus": None if command.cpus is None else sorted(command.cpus),
            "private_mounts": command.private_mounts,
            "identity": identity and (identity.uid, identity.gid, list(identity.groups)),
        }

    def _supervisor(self) -> socket.socket:
        """A line to a supervisor with nothing to do: one that saw its last tree to the end, or a new one."""
        while self._free:
            conn = self._free.pop()
            poller = select.poll()
            poller.register(conn, select.POLLIN)
            if not poller.poll(0):
                return conn
            conn.close()  # it was killed meanwhile
        if self not in _mine:
            raise BenchError("this reaper is not open", hint="use it as a context manager")
        conn, theirs = socket.socketpair()
        conn.settimeout(EXIT_DEADLINE)
        with theirs:
            try:
                forkserver.send(self._control, True, [theirs.fileno()])
            except ConnectionError:
                conn.close()
                raise ProcessError(f"the reaper (pid {self.pid}) {self._end()}") from None
        return conn

    def _end(self) -> str:
        """How the reaper itself ended."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_DEADLINE)
        status = self._process.returncode or 0
        return f"was killed by {signal_name(-status)}" if status < 0 else f"ended with status {status}"

    def _hang_up(self) -> None:
        """Let the reaper end, now that it has nothing to do, and see that it does."""
        with suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)  # reaches it even where a fork still holds the socket
        self.abandon()
        try:
            self._process.wait(EXIT_DEADLINE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reap()


def _program(command: Command) -> str:
    """The path to execute; a bare name is looked up in the command's own PATH."""
    name = command.argv[0]
    if "/" in name:
        return name
    path = command.env.get("PATH", PATH)
    found = shutil.which(name, path=path)
    if found is None:
        raise NotStarted(f"{command.name}: there is no program {name} in {path}")
    return found


def _stdin(stack: ExitStack, *, wanted: bool) -> tuple[int, int | None]:
    """The child's stdin, and our end of it when something is to be sent."""
    if not wanted:
        theirs = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, theirs)
        return theirs, None
    theirs, ours = os.pipe2(os.O_CLOEXEC)
    stack.callback(os.close, theirs)
    os.set_blocking(ours, False)
    return theirs, ours


def _create(stack: ExitStack, path: Path) -> int:
    """Make a new log; an old one may be somebody else's, but the directory is ours."""
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
    stack.callback(os.close, fd)
    return fd


def _abandon_all() -> None:
    for reaper in list(_mine):
        reaper.abandon()


os.register_at_fork(after_in_child=_abandon_all)
