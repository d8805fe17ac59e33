"""The harness's view of one running command."""

from __future__ import annotations

import os
import re
import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from bpfbench.process import forkserver
from bpfbench.process.command import Command, Exit
from bpfbench.process.errors import Died, Lost, NotStarted, ProcessError, TimedOut
from bpfbench.process.log import Bell, Lines, tail

if TYPE_CHECKING:
    from bpfbench.process.reaper import Reaper

START_DEADLINE = 30.0
"""Seconds for fork and exec: long, because the program may lie on a slow disk."""
SEND_DEADLINE = 10.0
"""Seconds for a child to read what is sent to it, when its pipe is full."""
END_MARGIN = 3.0
"""Seconds after the grace in which a supervisor must have ended its tree."""
BLIND_STEP = 0.05
"""Seconds between looks at a log when the machine has no inotify instance left."""


class Child:
    """One command, its process tree and its logs; made by ``Reaper.start``. Waits sleep, to a deadline."""

    def __init__(
        self, command: Command, conn: socket.socket, stdin: int | None, log_dir: Path, reaper: Reaper
    ) -> None:
        self.command = command
        self.out, self.err = log_paths(command, log_dir)
        self.pid = 0
        self._supervisor = 0
        self._conn = conn
        self._stdin = stdin
        self._reaper = reaper
        self._lines = Lines(self.out)
        self._running = True
        self._exit: Exit | None = None
        self._failure: ProcessError | None = None

    @property
    def alive(self) -> bool:
        """Whether the command still runs, as far as is known without waiting."""
        if self._running:
            self._listen(0)
        return self._running

    def begin(self) -> None:
        """Wait until the command is executed (``NotStarted`` if it cannot be)."""
        end = time.monotonic() + START_DEADLINE
        while not self.pid:
            self._listen(end - time.monotonic())
            if self._failure:
                raise self._failure
            if time.monotonic() > end:
                raise NotStarted(f"{self} was not started within {START_DEADLINE:g} s")

    def send(self, line: str) -> None:
        """Write one line to the child's stdin."""
        self._reaper.check_owner()
        if self._stdin is None:
            raise ProcessError(f"{self} has no open stdin")
        data = memoryview(f"{line}\n".encode())
        poller = select.poll()
        poller.register(self._stdin, select.POLLOUT)
        end = time.monotonic() + SEND_DEADLINE
        while data:
            if not poller.poll(max(0.0, end - time.monotonic()) * 1000):
                raise TimedOut(f"{self} does not read its stdin", SEND_DEADLINE, self.tail())
            try:
                data = data[os.write(self._stdin, data) :]
            except BrokenPipeError:
                self._listen(1.0)
                if not self._running:
                    self._complain(f"{line!r} could be sent")
                raise ProcessError(f"{self} has closed its stdin", tail=self.tail()) from None

    def close_stdin(self) -> None:
        """Let the child read end-of-file."""
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def expect(self, pattern: re.Pattern[str] | str, deadline: float) -> str:
        """Return the next line of its stdout in which ``pattern`` is found; earlier lines are passed over.

        Waits at most ``deadline`` seconds (``TimedOut``). ``Died`` when the child ends without such a line.
        """
        self._reaper.check_owner()
        wanted = re.compile(pattern)
        end = time.monotonic() + deadline
        with self._reaper.bell(self.out) as bell:
            while True:
                ended = not self._running  # before reading: then what we read is all there is
                while (line := self._lines.next(ended=ended)) is not None and time.monotonic() < end:
                    if wanted.search(line):
                        return line
                if ended and line is None:
                    self._complain(f"it printed {wanted.pattern!r}")
                left = end - time.monotonic()
                if left <= 0:
                    failure = f"{self} did not print {wanted.pattern!r} within {deadline:g} s"
                    raise TimedOut(failure, deadline, self.tail())
                self._listen(left if bell else min(left, BLIND_STEP), bell)

    def wait(self, deadline: float, *, silence: float | None = None) -> Exit:
        """Wait until the command has ended, and its tree with it.

        ``TimedOut`` when it takes more than ``deadline`` seconds, or writes nothing for ``silence`` seconds
        (noticed up to a quarter later). It is not ended then: that is what ``stop`` is for.
        """
        self._reaper.check_owner()
        start = quiet_since = time.monotonic()
        size = self._log_size()
        while self._running:
            now = time.monotonic()
            if now - start >= deadline:
                raise TimedOut(f"{self} did not end within {deadline:g} s", now - start, self.tail())
            step = start + deadline - now
            if silence is not None:
                if size != (size := self._log_size()):
                    quiet_since = now
                if now - quiet_since >= silence:
                    failure = f"{self} printed nothing for {silence:g} s"
                    raise TimedOut(failure, now - quiet_since, self.tail())
                step = min(step, silence / 4)
            self._listen(step)
        return self._result()

    def stop(self, grace: float = 1.0) -> Exit:
        """End the whole tree: TERM, then KILL ``grace`` seconds later. Returns when nothing of it is left."""
        self._reaper.check_owner()
        self.ask_to_stop(grace)
        end = time.monotonic() + grace + END_MARGIN
        while self._running:
            if time.monotonic() > end:
                raise ProcessError(f"{self}: its supervisor does not answer", tail=self.tail())
            self._listen(end - time.monotonic())
        return self._result()

    def ask_to_stop(self, grace: float) -> None:
        """The first half of ``stop``, so that many children can end at the same time."""
        if self._running:
            with suppress(ConnectionError):
                forkserver.send(self._conn, {"stop": grace})

    def tail(self) -> str:
        """The last lines of its logs, for an error message."""
        return tail(self.out, self.err)

    def abandon(self) -> None:
        """Close what this process holds of the child; the supervisor ends what still lives of it."""
        if self._running:
            self._running = False
            self._conn.close()
            self.close_stdin()

    def __str__(self) -> str:
        return f"{self.command.name} (pid {self.pid})" if self.pid else self.command.name

    def _listen(self, patience: float, bell: Bell | None = None) -> None:
        """Sleep until the supervisor says something, the bell rings or ``patience`` seconds have passed."""
        if not self._running:
            return
        poller = select.poll()
        poller.register(self._conn, select.POLLIN)
        if bell:
            poller.register(bell.fd, select.POLLIN)
        for fd, _ in poller.poll(min(max(0.0, patience), 1e6) * 1000):
            if bell and fd == bell.fd:
                bell.silence()
            else:
                self._hear(forkserver.receive(self._conn)[0])

    def _hear(self, told: dict[str, Any] | None) -> None:
        if told and "started" in told:
            self.pid, self._supervisor = told["started"], told["supervisor"]
            return
        self._running = False
        self.close_stdin()
        free = told is not None and not told.get("survivors")
        self._reaper.take_back(self, self._conn if free else None)
        if not free:
            self._conn.close()
        if told is None:
            self._reaper.sweep(self._supervisor)
            failure = f"{self}: its supervisor was killed, and the command with it"
            self._failure = Lost(failure, tail=self.tail())
        elif "failed" in told:
            self._failure = _not_started(self.command, *told["failed"])
        elif told["survivors"]:
            pids = ", ".join(map(str, told["survivors"]))
            self._failure = ProcessError(f"{self}: could not be ended: pid {pids}", tail=self.tail())
        else:
            self._exit = Exit.of(told["exit"])

    def _result(self) -> Exit:
        if self._exit is None:
            raise self._failure or ProcessError(f"{self} was abandoned")
        return self._exit

    def _complain(self, before: str) -> NoReturn:
        result = self._result()
        raise Died(f"{self} {result}, before {before}", result, self.tail())

    def _log_size(self) -> int:
        return sum(path.stat().st_size for path in (self.out, self.err) if path.exists())


def log_paths(command: Command, log_dir: Path) -> tuple[Path, Path]:
    """Where stdout and stderr go; the same file twice for ``stdout="file"``."""
    out = log_dir / f"{command.name}.out"
    return out, out if command.stdout == "file" else log_dir / f"{command.name}.err"


def _not_started(command: Command, step: str, number: int) -> NotStarted:
    """Say which step of the start failed, and on what."""
    why = os.strerror(number)
    if step == "program":
        hint = None
        if number == 2 and Path(command.cwd, command.argv[0]).exists():
            hint = "the file exists: the interpreter in its first line, or its dynamic loader, does not"
        return NotStarted(f"{command.name}: cannot execute {command.argv[0]}: {why}", hint=hint)
    if step == "private mounts":
        message = f"{command.name}: cannot have private mounts: {why}"
        return NotStarted(message, hint="run as root (CAP_SYS_ADMIN)")
    about = {"cwd": f"directory {command.cwd}", "cpus": f"CPUs {sorted(command.cpus or ())}"}.get(step, step)
    return NotStarted(f"{command.name}: cannot start in {about}: {why}")
