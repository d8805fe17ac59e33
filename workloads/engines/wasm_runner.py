"""Wasmtime: ``wasm_runner.py WASMTIME FOLDER``, where FOLDER has NAME.wasm for each program.

Speaks as runner.c does; it has no gauge, so that every round counts as calm. WASMTIME is the tree that has the module ``wasmtime``.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MEMORY, ENTRIES, SECOND, COMPARED, DIFFERENT_AT = 16384, 256, 8192, 1024, 400
MASK = (1 << 64) - 1


def say(word: str, **told: object) -> None:
    """Answer with one line."""
    print(word, json.dumps(told), flush=True)


def xorshift(state: int) -> Iterator[int]:
    """Yield the numbers of inputs.c."""
    while True:
        state ^= state << 13 & MASK
        state ^= state >> 7
        state ^= state << 17 & MASK
        yield state


def some_bytes() -> bytearray:
    """Return the memory that programs of bytes start with."""
    numbers = xorshift(0x2545F4914F6CDD1D)
    return bytearray(next(numbers) >> 24 & 255 for _ in range(MEMORY))


def some_numbers() -> bytearray:
    """Return the memory that programs of numbers start with: numbers of all lengths."""
    numbers = xorshift(0x9E3779B97F4A7C15)
    found = bytearray()
    for _ in range(MEMORY // 8):
        number = next(numbers)
        found += (number >> (next(numbers) & 63)).to_bytes(8, "little")
    return found


def some_strings(differ: bool) -> bytearray:
    """Return memory with two strings that are the same, or differ in one letter."""
    found = some_bytes()
    for at in range(COMPARED):
        found[at] = found[SECOND + at] = found[at] % 255 + 1
    found[COMPARED - 1] = found[SECOND + COMPARED - 1] = 0
    if differ:
        found[SECOND + DIFFERENT_AT] ^= 0x55
    return found


def filled(word: str) -> bytearray:
    """Return the memory that a program starts with; the last eight bytes are for its result."""
    strings = word in ("same", "different")
    found = some_strings(word == "different") if strings else some_numbers() if word == "numbers" else some_bytes()
    found[-8:] = bytes(8)
    return found


def digest(memory: bytes) -> str:
    """Return the FNV-1a hash of 64 bits as its bytes in hex."""
    found = 0xCBF29CE484222325
    for byte in memory:
        found = (found ^ byte) * 0x100000001B3 & MASK
    return found.to_bytes(8, "little").hex()


class Loaded:
    """A program in Wasmtime."""

    def __init__(self, wasmtime: Any, engine: Any, code: bytes, word: str) -> None:
        start = time.monotonic_ns()
        module = wasmtime.Module(engine, code)
        self.compile_ns = time.monotonic_ns() - start
        self.store = wasmtime.Store(engine)
        exports = wasmtime.Instance(self.store, module, []).exports(self.store)
        self.memory, self.many = exports["memory"], exports["many"]
        self.at = exports["memory_at"](self.store)
        values = b"".join(((key * 2654435761 + 7) & MASK).to_bytes(8, "little") for key in range(ENTRIES))
        self.memory.write(self.store, filled(word), self.at)
        self.memory.write(self.store, values, exports["values_at"](self.store))

    def run(self, calls: int, rounds: int) -> list[int]:
        """Return the ns of each round of so many calls."""
        spent = []
        for _ in range(rounds):
            start = time.monotonic_ns()
            self.many(self.store, calls)
            spent.append(time.monotonic_ns() - start)
        return spent

    def left(self) -> bytes:
        """Return the memory as it is now."""
        return bytes(self.memory.read(self.store, self.at, self.at + MEMORY))


def main(tree: str, folder: str) -> int:
    """Answer commands until there are none."""
    sys.path.insert(0, tree)
    import wasmtime

    engine, loaded, calm = wasmtime.Engine(), None, 0
    say("READY", pid=os.getpid())
    for line in sys.stdin:
        word, *rest = line.split()
        file = Path(folder, f"{rest[0]}.wasm" if rest else "")
        if word == "quit":
            return 0
        if word == "load" and len(rest) == 2 and not (re.fullmatch("[a-z0-9_]+", rest[0]) and file.exists()):
            say("REFUSED", message=f"there is no {rest[0]}.wasm")
        elif word == "load" and len(rest) == 2:
            loaded = Loaded(wasmtime, engine, file.read_bytes(), rest[1])
            say("LOADED", program=rest[0], engine="wasmtime", compile_ns=loaded.compile_ns, code_size=None)
        elif word == "calm" and rest:
            calm = int(rest[0])
            print("OK calm", flush=True)
        elif word == "run" and loaded and len(rest) == 3:
            calls, wanted, most = map(int, rest)
            spent = loaded.run(calls, min(wanted, most))
            memory = loaded.left()
            say(
                "DONE", calls=calls * len(spent), hits=None, result=memory[-8:].hex(), memory=digest(memory),
                cpu_ns=time.process_time_ns(), core=calm, clock="CLOCK_MONOTONIC", rounds=spent, calm=[1] * len(spent),
            )  # fmt: skip
        else:
            say("ERROR", stage="command", message=f"unknown command: {line.strip()}")
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
