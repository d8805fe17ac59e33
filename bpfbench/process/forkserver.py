"""The reaper and its supervisors (the picture is in ``bpfbench.process``). Runs alone, by ``python -I -S``.

The harness asks the reaper for a supervisor by sending it one end of a socket pair. From then on it talks to
that supervisor alone: an order with the three standard files, answered by ``started`` or ``failed``; at any
time ``stop``; at the end ``exit``. Then the supervisor is free for another order: forking one costs more than
all the rest. Messages are length-prefixed ``marshal``: both ends run one interpreter, and it costs no import.
For the same reason there is no pathlib here, no typing and no dataclass.
"""
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import marshal
import os
import resource
import select
import signal
import socket
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from typing import Any, NoReturn

ORPHAN_GRACE = 0.5
"""Seconds between TERM and KILL when the harness or the reaper is gone."""
KILL_FOR = 1.0
"""Seconds to go on killing until a process counts as one that cannot be ended (stuck in the kernel)."""
KILL_EVERY = 0.02
"""Seconds between two looks for processes that were forked while the others were killed."""

TAG_LIMIT = 10
"""RLIMIT_LOCKS: without effect since Linux 2.4.25, but inherited by everything below us, whatever it does to
its environment, session or parent. The hard limit says that it is a tag, the soft limit says whose."""
TAG = int.from_bytes(b"bpfbench", "big")

FD_SIZE = 4
"""Bytes of a C int: that is how open files are passed."""
PR_SET_PDEATHSIG, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 1, 15, 36
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000


# Messages ---------------------------------------------------------------------------------------------------


def send(sock: socket.socket, message: object, fds: Sequence[int] = ()) -> None:
    """Send one message (anything ``marshal`` takes) and, with it, open files."""
    body = marshal.dumps(message)  # type: ignore[arg-type]
    frame = len(body).to_bytes(4, "big") + body
    done = socket.send_fds(sock, [frame], fds, socket.MSG_NOSIGNAL) if fds else 0
    sock.sendall(frame[done:], socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[Any, list[int]]:
    """Wait for one message and the files sent with it; ``(None, [])`` when the other side is gone."""
    try:
        # Not socket.recv_fds: it forgets about the flags, and the files would leak into every command.
        head, extra, _, _ = sock.recvmsg(4, socket.CMSG_SPACE(3 * FD_SIZE), socket.MSG_CMSG_CLOEXEC)
        fds = [fd for _, _, data in extra for fd in _fds(data)]
        if not head:
            return None, []
        head += _exactly(sock, 4 - len(head))
        return marshal.loads(_exactly(sock, int.from_bytes(head, "big"))), fds
    except (ConnectionError, EOFError):
        return None, []


def _fds(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + FD_SIZE], sys.byteorder) for at in range(0, len(data), FD_SIZE)]


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise EOFError
        data += part
    return data


# Processes --------------------------------------------------------------------------------------------------


class Process:
    """A process as /proc shows it: ``pid`` and ``start`` (clock ticks since boot) name it for good."""

    __slots__ = ("parent", "pid", "start", "zombie")

    def __init__(self, pid: int, parent: int, start: int, zombie: bool) -> None:
        self.pid, self.parent, self.start, self.zombie = pid, parent, start, zombie


def look(pid: int) -> Process | None:
    """Return the process ``pid``, None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, int(fields[1]), int(fields[19]), fields[0] in b"ZX")


def processes() -> Iterator[Process]:
    """Every process that /proc shows."""
    for name in os.listdir("/proc"):
        if name.isdecimal() and (found := look(int(name))):
            yield found


def descendants(root: int, spare: Collection[int] = ()) -> list[Process]:
    """The living processes below ``root``, without those in ``spare`` and what is below them."""
    children: dict[int, list[Process]] = {}
    for process in processes():
        if process.pid not in spare:
            children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += [process for process in below if not process.zombie]
        todo += [process.pid for process in below]
    return found


def signal_process(process: Process, number: int) -> None:
    """Send a signal to exactly this process, never to another that was given its number since."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        pidfd = os.pidfd_open(process.pid)
        try:
            now = look(process.pid)
            if now and now.start == process.start:
                signal.pidfd_send_signal(pidfd, number)
        finally:
            os.close(pidfd)


def tag_of(reaper: Process) -> int:
    """The soft limit that marks everything below ``reaper``."""
    return reaper.pid << 40 | reaper.start % (1 << 40)


# What the standard library does not wrap --------------------------------------------------------------------

_libc = ctypes.CDLL(None, use_errno=True)


def _call(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _prctl(option: int, value: int | bytes) -> None:
    argument = ctypes.c_char_p(value) if isinstance(value, bytes) else ctypes.c_ulong(value)
    _call(_libc.prctl(option, argument, *[ctypes.c_ulong(0)] * 3))


def _private_mounts() -> None:
    _call(_libc.unshare(CLONE_NEWNS))
    _call(_libc.mount(None, b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))


class Bell:
    """Wakes a ``poll`` on ``fd`` when a child of this process ends."""

    def __init__(self) -> None:
        self.fd, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def silence(self) -> None:
        """Forget the rings so far."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)

    def close(self) -> None:
        """Give up both ends."""
        os.close(self.fd)
        os.close(self._write)


# The command ------------------------------------------------------------------------------------------------


def become(order: dict[str, Any], fds: Sequence[int], supervisor: int, report: int) -> NoReturn:
    """Turn this freshly forked process into the command.

    Writes the moment of the exec (monotonic ns) to ``report``, which exec closes; or else ``|step|errno``.
    """
    step = "session"
    try:
        os.setsid()  # so that a script's `kill 0` reaches nobody else
        for number, fd in enumerate(fds):
            os.dup2(fd, number)
        step = "cpus"
        if order["cpus"]:
            os.sched_setaffinity(0, order["cpus"])
        step = "private mounts"
        if order["private_mounts"]:
            _private_mounts()
        step = "identity"
        if order["identity"]:
            uid, gid, groups = order["identity"]
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
        step = "cwd"
        os.chdir(order["cwd"])
        step = "program"
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # after the change of user, which would clear it
        if os.getppid() == supervisor:
            os.write(report, b"%d" % time.monotonic_ns())
            os.execve(order["path"], order["argv"], order["env"])
    except BaseException as error:
        os.write(report, b"|%s|%d" % (step.encode(), getattr(error, "errno", None) or errno.EINVAL))
    finally:
        os._exit(127)


# The supervisor ---------------------------------------------------------------------------------------------


class Tree:
    """One command and everything below it: all that this process has in the way of children."""

    def __init__(self, order: dict[str, Any], fds: Sequence[int]) -> None:
        """Start the command. ``failure`` tells at which step that went wrong, and with which errno."""
        self.exit: dict[str, Any] = {}
        self.phase = "running"  # then "ending" (TERM was sent), "killing", "over"
        self.deadline: float | None = None
        self.give_up = 0.0
        self.failure: tuple[str, int] | None = None
        watch, report = os.pipe2(os.O_CLOEXEC)
        supervisor = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            become(order, fds, supervisor, report)
        for fd in (report, *fds):
            os.close(fd)
        with open(watch, "rb", buffering=0) as file:
            moment, *failure = file.readall().split(b"|")
        self.started = int(moment or 0) or time.monotonic_ns()
        if failure:
            os.waitpid(self.pid, 0)
            self.failure = failure[0].decode(), int(failure[1])

    def advance(self) -> None:
        """Do what is due: collect the dead, kill when the time has come."""
        if self.alone():
            self.phase = "over"
        elif self.deadline is not None and time.monotonic() >= self.deadline:
            self.kill()

    def alone(self) -> bool:
        """Collect the dead; say whether nobody is left. The command's own end is the end of its tree."""
        try:
            while (found := os.wait4(-1, os.WNOHANG))[0]:
                if found[0] == self.pid:
                    self.note(*found[1:])
        except ChildProcessError:
            return True
        return False

    def note(self, status: int, usage: resource.struct_rusage) -> None:
        """Remember how the command itself ended; what it left behind is killed at once."""
        self.exit = {
            "status": status,
            "wall": (time.monotonic_ns() - self.started) / 1e9,
            "user": usage.ru_utime,
            "system": usage.ru_stime,
            "max_rss_kib": usage.ru_maxrss,
        }
        if self.phase == "running":
            self.deadline = time.monotonic()

    def end(self, grace: float) -> None:
        """Ask everybody to end; who has not after ``grace`` seconds is killed."""
        if self.phase == "running":
            self.phase = "ending"
            self.signal(signal.SIGTERM)
            self.deadline = time.monotonic() + grace
        elif self.phase == "ending":
            self.deadline = min(self.deadline or 0.0, time.monotonic() + grace)

    def kill(self) -> None:
        """Kill everybody, again and again while somebody is left, but not for ever."""
        now = time.monotonic()
        if self.phase != "killing":
            self.phase, self.give_up = "killing", now + KILL_FOR
        if now >= self.give_up:
            self.phase = "over"
        self.signal(signal.SIGKILL)
        self.deadline = now + KILL_EVERY

    def signal(self, number: int) -> None:
        """Signal everybody."""
        for process in descendants(os.getpid()):
            signal_process(process, number)


class Supervisor:
    """Answers for one tree after the other; ends it, and itself, when an owner (a pidfd) dies."""

    def __init__(self, conn: socket.socket, owners: Sequence[int]) -> None:
        self.conn = conn
        self.bell = Bell()
        self.owned = True
        self.poller = select.poll()
        for fd in (conn.fileno(), self.bell.fd, *owners):
            self.poller.register(fd, select.POLLIN)

    def run(self) -> int:
        """Serve orders until nobody is there to give any; return 1 if something could not be ended."""
        _prctl(PR_SET_NAME, b"bench-supervise")
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        survivors = False
        while self.owned and not survivors:
            for message, fds in self.hear(None):
                # Not a stop, which may have crossed our report of the end.
                if self.owned and message and "stop" not in message:
                    survivors = self.serve(Tree(message, fds))
        return int(survivors)

    def serve(self, tree: Tree) -> bool:
        """See a tree to its end and report it; say whether something of it survives."""
        if tree.failure:
            self.tell({"failed": tree.failure})
            return False
        self.tell({"started": tree.pid, "supervisor": os.getpid()})
        while tree.phase != "over":
            patience = None if tree.deadline is None else max(0.0, tree.deadline - time.monotonic())
            for message, _ in self.hear(patience):
                tree.end(message["stop"] if message else ORPHAN_GRACE)
            tree.advance()
        survivors = [] if tree.alone() else [process.pid for process in descendants(os.getpid())]
        self.tell({"exit": tree.exit, "survivors": survivors})
        return bool(survivors)

    def hear(self, patience: float | None) -> Iterator[tuple[Any, list[int]]]:
        """Sleep until something happens; yields messages, and None for an owner that died or hung up."""
        for fd, _ in self.poller.poll(None if patience is None else patience * 1000):
            if fd == self.bell.fd:
                self.bell.silence()
                continue
            message, fds = receive(self.conn) if fd == self.conn.fileno() else (None, [])
            if message is None:
                with contextlib.suppress(KeyError):  # while a tree was served, this was noticed already
                    self.poller.unregister(fd)
                self.owned = False
            yield message, fds

    def tell(self, message: object) -> None:
        """Send a message to the harness, if it is still there."""
        with contextlib.suppress(ConnectionError):
            send(self.conn, message)


# The reaper -------------------------------------------------------------------------------------------------


class Reaper:
    """Forks supervisors on request, and ends what a supervisor leaves behind when it is killed itself."""

    def __init__(self, control: socket.socket, harness: int) -> None:
        self.control = control
        self.bell = Bell()
        self.owners = (harness, os.pidfd_open(os.getpid()))
        self.supervisors: set[int] = set()
        self.asked: int | None = None
        """Supervisor whose end the harness noticed; it is told when nothing is left of the tree."""
        self.chase = 0.0
        """Until when to look for orphans (monotonic); 0 when there are none."""
        self.poller = select.poll()
        for fd in (control.fileno(), harness, self.bell.fd):
            self.poller.register(fd, select.POLLIN)

    def run(self) -> None:
        """Serve until the harness is gone, then wait until the last supervisor has finished its work."""
        serving = True
        while serving or self.supervisors or self.chase:
            for fd, _ in self.poller.poll(KILL_EVERY * 1000 if self.chase else None):
                if fd == self.bell.fd:
                    self.bell.silence()
                    continue
                message, fds = receive(self.control) if fd == self.control.fileno() else (None, [])
                if fds:
                    self.fork(fds[0])
                elif message is not None:
                    self.asked = message
                else:
                    self.poller.unregister(fd)
                    serving = False
            self.collect()
            if self.asked is not None and self.asked not in self.supervisors and not self.chase:
                self.asked = None
                with contextlib.suppress(ConnectionError):
                    send(self.control, True)

    def fork(self, fd: int) -> None:
        """Make a supervisor that talks to the harness over the socket ``fd``."""
        pid = os.fork()
        if pid:
            os.close(fd)
            self.supervisors.add(pid)
            return
        status = 1
        try:
            self.control.close()  # or the harness would not notice the reaper's end
            self.bell.close()
            with socket.socket(fileno=fd) as conn:
                status = Supervisor(conn, self.owners).run()
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(status)

    def collect(self) -> None:
        """Collect the dead. Any other child has lost its supervisor: kill it and all below it."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] in self.supervisors:
                    self.supervisors.discard(found[0])
                    if found[1]:
                        self.chase = time.monotonic() + KILL_FOR
        if self.chase:
            lost = descendants(os.getpid(), spare=self.supervisors)
            for process in lost:
                signal_process(process, signal.SIGKILL)
            if not lost or time.monotonic() > self.chase:
                self.chase = 0.0


def _settle() -> None:
    """Shed what was inherited from the harness, and take on what every supervisor shall inherit."""
    os.chdir("/")
    for number in {*range(signal.SIGHUP, signal.SIGSYS + 1)} - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    gid = os.getgid()
    if os.getegid() != gid:
        # The harness works as its invoker, we do not. All ids must agree: a program that is executed with
        # different real and effective ones ignores LD_PRELOAD.
        os.setgroups([gid])
        os.setresgid(gid, gid, gid)
    own = look(os.getpid())
    with contextlib.suppress(OSError, ValueError):  # below a smaller hard limit leftovers go unrecognised
        resource.setrlimit(TAG_LIMIT, (tag_of(own), TAG) if own else (0, TAG))
    _prctl(PR_SET_NAME, b"bench-reaper")
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    gc.disable()
    gc.freeze()


def main(control: int, harness: int) -> None:
    """Serve the harness, whose pidfd is ``harness``, over the socket ``control``."""
    for fd in (control, harness):
        os.set_inheritable(fd, False)
    _settle()
    Reaper(socket.socket(fileno=control), harness).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
