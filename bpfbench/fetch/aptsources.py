"""Source lines for apt, derived from the entries that a machine has: sources.list(5), both of its formats.

Whatever an entry says of keys and trust (``Signed-By``, ``[signed-by=…]``, ``Trusted``) is kept word for word: where the machine would
not trust a package it does not trust a source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

_ENTRY = re.compile(r"(deb|deb-src)\s+(\[[^\]]*\]\s*)?(\S+)\s+(\S.*)")
_DROPPED = {"types", "architectures", "languages", "targets", "enabled"}
"""Fields of binary packages alone, or that we set ourselves."""


def derived(settings: Mapping[str, str]) -> dict[str, str]:
    """Return file name → content of a directory of entries for source packages only.

    ``settings``: ``LIST``, the machine's main file, and ``PARTS``, its directory of more. Unreadable files are left out.
    """
    files = [Path(settings["LIST"])] if settings.get("LIST") else []
    parts = Path(settings["PARTS"]) if settings.get("PARTS") else None
    if parts and parts.is_dir():
        files += sorted(path for path in parts.iterdir() if path.suffix in (".list", ".sources"))
    lines: dict[str, None] = {}
    stanzas: dict[str, None] = {}
    for file in files:
        try:
            text = file.read_text("utf-8", "replace")
        except OSError:
            continue
        if file.suffix == ".sources":
            stanzas.update(dict.fromkeys(_stanzas(text)))
        else:
            lines.update(dict.fromkeys(_lines(text)))
    found = {"derived.list": "".join(f"{line}\n" for line in lines), "derived.sources": "\n".join(stanzas)}
    return {name: content for name, content in found.items() if content}


def _lines(text: str) -> Iterator[str]:
    """Yield entries in one line: ``deb-src [options] uri suite component…``."""
    for line in text.splitlines():
        entry = _ENTRY.fullmatch(line.partition("#")[0].strip())
        if entry is None or entry[3].startswith("cdrom:"):
            continue
        kept = [word for word in (entry[2] or "").strip(" []\t").split() if not _of_binaries(word)]
        options = f"[{' '.join(kept)}] " if kept else ""
        yield f"deb-src {options}{entry[3]} {' '.join(entry[4].split())}"


def _of_binaries(option: str) -> bool:
    return re.split(r"[-+]?=", option)[0].lower() in ("arch", "lang", "target")


def _stanzas(text: str) -> Iterator[str]:
    """Yield entries in deb822 form, each ending in a newline."""
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields = _fields(block)
        plain = {name.lower(): value for name, value in fields}
        types = plain.get("types", "").split()
        off = plain.get("enabled", "yes").strip().lower() in ("no", "false", "without", "off", "disable", "0")
        if off or not {"deb", "deb-src"} & set(types) or plain.get("uris", "").strip().startswith("cdrom:"):
            continue
        kept = "".join(f"{name}:{value}" for name, value in fields if name.lower() not in _DROPPED)
        yield f"Types: deb-src\n{kept}"


def _fields(block: str) -> list[tuple[str, str]]:
    """Return the fields of a stanza, values as they stand, with their continuation lines and last newline."""
    fields: list[tuple[str, str]] = []
    for line in block.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and fields:
            name, value = fields.pop()
            fields.append((name, f"{value}{line}\n"))
        elif (found := re.fullmatch(r"([^\s:]+):(.*)", line)) is not None:
            fields.append((found[1], f"{found[2]}\n"))
    return fields
