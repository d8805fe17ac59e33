"""The system calls that the checks really make, by number through ctypes, on x86-64 and aarch64.

Every method raises OSError with the kernel's own errno. What a method creates it closes again before it
returns, unless it returns a descriptor; those are close-on-exec.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_NUMBERS = {
    "x86_64": {"perf_event_open": 298, "bpf": 321, "pkey_alloc": 330, "pkey_free": 331, "ptrace": 101},
    "aarch64": {"perf_event_open": 241, "bpf": 280, "pkey_alloc": 289, "pkey_free": 290, "ptrace": 117},
}
_NEW_NUMBERS = {"fsopen": 430, "fsconfig": 431, "fsmount": 432}
"""Calls since Linux 5.1 have the same number on all architectures."""

_FUNCTIONS = {
    "x86_64": bytes.fromhex("90 90 90 90 90 c3"),  # nop ×5; ret
    "aarch64": bytes.fromhex("1f2003d5 c0035fd6"),  # nop; ret
}
"""A function that does nothing and whose first instruction a uprobe can stand on."""

MAP_CREATE, PROG_LOAD, OBJ_GET_INFO = 0, 5, 15
ARRAY = 2
SOCKET_FILTER, KPROBE = 1, 2
_ATTRIBUTES = 128
"""Size of the zero-padded union bpf_attr that we pass: the kernel accepts any size whose unknown rest is
zero."""

_CLOSE_ON_EXEC = 8


@dataclass(frozen=True, slots=True)
class Kernel:
    """The running kernel, as its system calls present it. Tests put another one in its place."""

    machine: str = field(default_factory=lambda: os.uname().machine)

    def create_map(self) -> int:
        """Create a one-element array map and return its descriptor."""
        return self._bpf(MAP_CREATE, struct.pack("=IIIII", ARRAY, 4, 8, 1, 0))

    def load_program(self, kind: int = KPROBE) -> int:
        """Load ``r0 = 0; exit`` and return its descriptor. ``KPROBE`` is the type of uprobe programs."""
        instructions = struct.pack("=BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
        code = ctypes.create_string_buffer(instructions, len(instructions))
        licence = ctypes.create_string_buffer(b"GPL")
        fields = (kind, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0)
        return self._bpf(PROG_LOAD, struct.pack("=IIQQIIQII", *fields))

    def jited_length(self, program: int) -> int:
        """Return the bytes of machine code of a loaded program: 0 when the kernel interprets it."""
        info = ctypes.create_string_buffer(256)
        self._bpf(OBJ_GET_INFO, struct.pack("=IIQ", program, len(info), ctypes.addressof(info)))
        (length,) = struct.unpack_from("=I", info, 16)
        return int(length)

    def fire_uprobe(self, pmu_type: int, calls: int) -> int:
        """Put a uprobe on a scratch function, call it ``calls`` times and return how often the probe fired.

        Only this process is watched, so that nothing else can add to the count; the permission that the
        kernel asks for is the same as for all processes (CAP_PERFMON, whatever perf_event_paranoid says).
        Takes about 0.1 s: taking a probe away waits for all CPUs.
        """
        with self._scratch_function() as (path, function):
            event = self._open_uprobe(pmu_type, path)
            try:
                for _ in range(calls):
                    function()
                (count,) = struct.unpack("=Q", os.read(event, 8))
                return int(count)
            finally:
                os.close(event)

    def allocate_pkey(self) -> int:
        """Allocate a protection key, free it and return its number."""
        key = self._call("pkey_alloc", 0, 0)
        self._call("pkey_free", key)
        return key

    def map_page_zero(self) -> None:
        """Map the page at address 0 without any access, and unmap it."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x10  # MAP_FIXED
        self._unmap(self._map(0, flags, -1, 0))

    def seize_child(self) -> None:
        """Start a child, become its tracer, and end it."""
        reading, writing = os.pipe()
        try:
            child = os.posix_spawn(
                "/bin/sh",
                ["sh", "-c", "read line"],
                {"PATH": os.defpath},
                file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
            )
            try:
                self._call("ptrace", 0x4206, child, 0, 0)  # PTRACE_SEIZE: does not stop the child
            finally:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        finally:
            os.close(reading)
            os.close(writing)

    def mount_detached(self, filesystem: str) -> int:
        """Mount a file system nowhere: return the descriptor of its root, and it is gone when that is
        closed."""
        context = self._call("fsopen", ctypes.c_char_p(filesystem.encode()), 1)
        try:
            self._call("fsconfig", context, 6, None, None, 0)  # FSCONFIG_CMD_CREATE
            return self._call("fsmount", context, 1, 0)
        finally:
            os.close(context)

    def open_device(self, path: str) -> None:
        """Open a device for reading and writing, and close it."""
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))

    def _call(self, name: str, *arguments: object) -> int:
        number = _NEW_NUMBERS.get(name) or _NUMBERS.get(self.machine, {}).get(name)
        if number is None or sys.maxsize < 1 << 32:
            raise OSError(errno.ENOSYS, f"no number of {name} known for {self.machine}")
        libc = ctypes.CDLL(None, use_errno=True)
        libc.syscall.restype = ctypes.c_long
        words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
        result = int(libc.syscall(ctypes.c_long(number), *words))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    def _bpf(self, command: int, fields: bytes) -> int:
        attributes = ctypes.create_string_buffer(fields, _ATTRIBUTES)
        return self._call("bpf", command, ctypes.byref(attributes), _ATTRIBUTES)

    def _open_uprobe(self, pmu_type: int, path: str) -> int:
        name = ctypes.create_string_buffer(path.encode())
        # struct perf_event_attr, first published size with config2 (72): type, size, config, period, sample
        # type, read format, flags, wakeup, bp_type, config1 = path, config2 = offset in the file
        fields = (pmu_type, 72, 0, 0, 0, 0, 0, 0, 0, ctypes.addressof(name), 0)
        attributes = ctypes.create_string_buffer(struct.pack("=IIQQQQQIIQQ", *fields), 72)
        return self._call("perf_event_open", ctypes.byref(attributes), 0, -1, -1, _CLOSE_ON_EXEC)

    @contextmanager
    def _scratch_function(self) -> Iterator[tuple[str, Callable[[], None]]]:
        """Give the path of an unnamed file that holds a function, and that function mapped into this
        process."""
        code = _FUNCTIONS.get(self.machine)
        if code is None:
            raise OSError(errno.ENOSYS, f"no scratch function for {self.machine}")
        file = os.memfd_create("uprobe-check", os.MFD_CLOEXEC)
        try:
            os.write(file, code.ljust(mmap.PAGESIZE, b"\0"))
            address = self._map(mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file, None)
            try:
                yield f"/proc/self/fd/{file}", ctypes.CFUNCTYPE(None)(address)
            finally:
                self._unmap(address)
        finally:
            os.close(file)

    def _map(self, protection: int, flags: int, file: int, address: int | None) -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        kinds = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
        libc.mmap.argtypes = list(kinds)
        mapped = libc.mmap(address, mmap.PAGESIZE, protection, flags, file, 0)
        if mapped == ctypes.c_void_p(-1).value:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return int(mapped or 0)

    def _unmap(self, address: int) -> None:
        libc = ctypes.CDLL(None)
        libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        libc.munmap(address, mmap.PAGESIZE)
