"""Which hosts were out of reach when last tried: waited for once, not by every source and every run."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.fetch.errors import Unavailable
from bpfbench.store import availability
from bpfbench.store.keys import Json

TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH")
"""Variables that name certificates of one's own, as behind a company's proxy."""


class Reach:
    """Records of hosts below ``directory``. With ``again`` every host is tried once more, whatever is recorded."""

    def __init__(self, directory: Path, *, again: bool = False, seen: Callable[[], Mapping[str, Json]] | None = None) -> None:
        self._directory = directory
        self._again = again
        self._seen = seen or network
        self._failed: dict[str, str] = {}

    def check(self, host: str) -> None:
        """Raise ``Unavailable`` if the host was out of reach and nothing has changed since."""
        if host in self._failed:
            raise Unavailable(self._failed[host])
        record = None if self._again else availability.read(self._directory, _name(host))
        if record and not record.ok and dict(record.seen) == dict(self._seen()):
            raise Unavailable(f"{record.reason} (tried {record.tried_at})")

    def failed(self, host: str, reason: str) -> None:
        """Remember that a host is out of reach."""
        self._failed[host] = reason
        with suppress(BenchError):  # a read-only store: the next one finds out by itself
            availability.record(self._directory, _name(host), False, reason, self._seen())

    def reached(self, host: str) -> None:
        """Forget that a host was out of reach."""
        self._failed.pop(host, None)
        if availability.read(self._directory, _name(host)):
            with suppress(OSError):
                (self._directory / f"{_name(host)}.json").unlink()


def network() -> dict[str, Json]:
    """Return what decides which hosts can be reached: names, ways out, proxies, whose certificates are trusted. What
    was tried is tried again when it changes.
    """
    proxies = {
        name: _digest(value) for name, value in os.environ.items() if name.lower().endswith("_proxy") or name in TRUST
    }
    return {"names": _names(), "routes": _routes(), "proxies": dict(sorted(proxies.items())), "indexes": _indexes()}


def _indexes() -> str:
    """Return a digest of how apt and pip are set up here: their settings, and the stamps of their files."""
    settings = [f"{name}={value}" for name, value in sorted(os.environ.items()) if name.startswith(("PIP_", "APT_"))]
    apt = Path("/etc/apt")
    files = [apt, apt / "sources.list", apt / "sources.list.d", apt / "apt.conf.d", Path("/etc/pip.conf")]
    home = Path(os.environ.get("HOME", "/"))
    files += [home / ".config" / "pip" / "pip.conf", home / ".pip" / "pip.conf"]
    for directory in files[2:4]:
        with suppress(OSError):
            files += sorted(directory.iterdir())
    for file in files:
        with suppress(OSError):
            status = file.stat()
            settings.append(f"{file} {status.st_size} {status.st_mtime_ns} {status.st_ino}")
    return _digest("\n".join(settings))


def _names() -> str:
    with suppress(OSError):
        return _digest(Path("/etc/resolv.conf").read_text("utf-8", "replace"))
    return ""


def _routes() -> list[str]:
    """Return the ways out: interface and gateway of every default route."""
    found = []
    with suppress(OSError):
        rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
        found += [f"{row[0]} {row[2]}" for row in rows if len(row) > 2 and row[1] == "00000000"]
    with suppress(OSError):
        rows = [line.split() for line in Path("/proc/net/ipv6_route").read_text().splitlines()]
        found += [f"{row[-1]} {row[4]}" for row in rows if row[0] == "0" * 32 and row[1] == "00" and row[-1] != "lo"]
    return sorted(set(found))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _name(host: str) -> str:
    return "host-" + re.sub(r"[^A-Za-z0-9.:_-]", "_", host)
