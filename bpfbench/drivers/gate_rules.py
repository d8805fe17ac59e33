"""The file of rules that the nginx module looks at before each decision (workloads/nginx_module/gate.h), and what rules mean."""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

MOST, LONGEST = 16, 28
"""Rules, and bytes of a prefix: GATE_RULES and GATE_PREFIX."""
OTHER = ("/elsewhere/",)
"""The rules to which a running server's are changed and back."""
_GENERATION, _COUNT, _RULE = struct.Struct("<Q"), struct.Struct("<I"), struct.Struct(f"<I{LONGEST}s")
_SIZE = 8 * -(-(_GENERATION.size + _COUNT.size + MOST * _RULE.size) // 8)


def packed(prefixes: Sequence[str]) -> bytes:
    """Return rules as the module reads them. Raises ``ValueError`` for what it would not take."""
    encoded = [prefix.encode() for prefix in prefixes]
    if len(encoded) > MOST or any(len(prefix) > LONGEST for prefix in encoded):
        raise ValueError(f"at most {MOST} rules of at most {LONGEST} bytes: {list(prefixes)}")
    rules = [_RULE.pack(len(prefix), prefix) for prefix in encoded]
    return (_COUNT.pack(len(rules)) + b"".join(rules)).ljust(_SIZE - _GENERATION.size, b"\0")


class Rules:
    """A file of rules that a running server has mapped."""

    def __init__(self, path: Path, prefixes: Sequence[str]) -> None:
        self.path, self.generation = path, 2
        path.write_bytes(_GENERATION.pack(self.generation) + packed(prefixes))

    def change(self, prefixes: Sequence[str]) -> None:
        """Put other rules into force. Whoever looks while that is done sees an odd generation."""
        text = packed(prefixes)
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), _SIZE) as place:
            place[: _GENERATION.size] = _GENERATION.pack(self.generation + 1)
            place[_GENERATION.size :] = text
            self.generation += 2
            place[: _GENERATION.size] = _GENERATION.pack(self.generation)


def allowed(path: str, prefixes: Sequence[str]) -> bool:
    """Whether a path may pass: what every engine must say."""
    return any(path.startswith(prefix) for prefix in prefixes)


def matrix(prefixes: Sequence[str]) -> list[tuple[str, str]]:
    """Return paths to ask for, each with the path that it means: each prefix, more and less than it, and disguises of it."""
    found = [("/", "/"), ("/nobody", "/nobody"), ("/" + "a" * 300, "/" + "a" * 300)]
    for prefix in prefixes:
        found += [(prefix, prefix), (f"{prefix}tail", f"{prefix}tail"), (prefix[:-1], prefix[:-1]), (f"/x{prefix}", f"/x{prefix}")]
        found += [
            (f"/%{ord(prefix[1]):02x}{prefix[2:]}", prefix),
            (f"/{prefix}", prefix),
            (f"/nobody/..{prefix}", prefix),
            (f"{prefix}?/nobody", prefix),
            (f"{prefix}{'a' * 300}", f"{prefix}{'a' * 300}"),
            (f"/nobody?{prefix}", "/nobody"),
        ]
    first = prefixes[0].rstrip("/")
    return [*found, (f"{first}{'/..' * first.count('/')}/nobody", "/nobody")]
