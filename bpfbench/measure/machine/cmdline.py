"""The kernel's command line: read as the kernel reads it, without secrets, and reduced to what can change a
measurement."""

from __future__ import annotations

import re
from dataclasses import dataclass

HIDDEN = "<hidden>"
SOME_ID = "<id>"

_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_SECRET = re.compile(
    r"pass(?:word|wd|phrase)|secret|token|credential|auth|private|(?:^|[._-])key(?:$|[._-])", re.IGNORECASE
)
_CREDENTIALS = re.compile(r"(://)[^/@\s]+@")

_BOOT_ONLY = frozenset(
    {
        "boot-image", "bootif", "initrd", "init", "rdinit", "root", "resume", "resume-offset", "resumedelay",
        "cryptdevice", "cryptkey", "ip", "nfsroot", "nfsaddrs", "bootdev", "netif", "hostname", "ostree",
        "systemd.hostname", "systemd.machine-id", "systemd.set-credential", "systemd.set-credential-binary",
        "network-config", "ds", "ci.datasource", "img", "image", "iso-scan/filename", "findiso",
    }
)  # fmt: skip
"""Parameters that name a disk, an image, an address, a host or what is started first. They change when a
system is installed again, a boot loader entry is rotated or an address is leased, and none changes what the
kernel does with a probe: the kernel itself is known by its release and version."""

_BOOT_ONLY_PREFIXES = (
    "rd.luks", "rd.lvm", "rd.md", "rd.dm", "luks", "systemd.credential", "cloud-init", "androidboot",
)  # fmt: skip

_IDS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # UUID
    r"|(?<![0-9a-z])(?:i-)?[0-9a-f]{16,}(?![0-9a-z])"  # digests, seeds, serial numbers, cloud instances
    r"|(?<![0-9a-f:])[0-9a-f]{2}(?:[:-][0-9a-f]{2}){5}(?![0-9a-f:])",  # hardware addresses
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The parameters meant for the kernel, secrets hidden, and how many words after ``--`` were left out.

    What follows ``--`` goes to init: the kernel does not look at it, and it is where agents get their
    settings and keys.
    """

    parameters: tuple[str, ...]
    init_words: int

    @property
    def text(self) -> str:
        """The parameters in one line."""
        return " ".join(self.parameters)

    @property
    def stable(self) -> tuple[str, ...]:
        """The parameters that belong to a machine's identity, sorted by name (equal names stay in order:
        the last one wins).

        Parameters that only concern one boot or one disk are left out; ids inside other values become
        ``<id>``.
        """
        kept = [word for word in self.parameters if not _boot_only(_name(word))]
        return tuple(_IDS.sub(SOME_ID, word) for word in sorted(kept, key=_name))


def parse(text: str) -> CommandLine:
    """Parse the content of /proc/cmdline (double quotes protect blanks, as in the kernel)."""
    words: list[str] = _WORD.findall(text.replace("\0", " "))
    end = words.index("--") if "--" in words else len(words)
    return CommandLine(tuple(map(_hide, words[:end])), max(len(words) - end - 1, 0))


def _name(word: str) -> str:
    """The kernel takes ``-`` and ``_`` in names as the same."""
    return word.partition("=")[0].strip('"').replace("_", "-").lower()


def _boot_only(name: str) -> bool:
    return name in _BOOT_ONLY or name.startswith(_BOOT_ONLY_PREFIXES)


def _hide(word: str) -> str:
    name, equals, value = word.partition("=")
    if equals and value and _SECRET.search(name):
        return f"{name}={HIDDEN}"
    return _CREDENTIALS.sub(rf"\1{HIDDEN}@", word)
