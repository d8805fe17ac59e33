"""One file by HTTP: verified, and continued where it was interrupted.

What has arrived lies in ``<downloads>/<id>.part``, with ``<id>.json`` beside it saying of what it is a part. It is only ever
read after its SHA-256 has been found right (or, while a source is being locked, after it has arrived whole).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError
from bpfbench.fetch.errors import Mismatch, Refused, Unavailable
from bpfbench.fetch.tools import Tools
from bpfbench.store.files import write_atomic
from bpfbench.store.locks import Flock

LARGEST = 2 << 30
"""Bytes of a download."""
ATTEMPTS = 4
"""Times that an interrupted download is gone on with at once, as long as each brings something new."""
KEPT = 14 * 86400.0
"""Seconds for which an unfinished download waits for being gone on with."""
AGENT = "bpfbench"
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class _Part:
    """Of what an unfinished download is a part. ``validator`` (a strong ETag or a date) tells it from later versions."""

    url: str
    validator: str | None = None
    length: int | None = None


def download(url: str, sha256: str | None, tools: Tools) -> tuple[Path, str]:
    """Return a file with what ``url`` leads to, and its SHA-256 (hex), which is ``sha256`` if that is given.

    The file stays in ``tools.downloads`` until ``discard`` is called. Raises ``Unavailable``, ``Mismatch``.
    """
    with downloaded(url, sha256, tools) as found:
        return found


@contextmanager
def downloaded(url: str, sha256: str | None, tools: Tools) -> Iterator[tuple[Path, str]]:
    """Download, and let nobody else touch the file within this: another source may have the same one."""
    _sweep(tools.downloads)
    name = sha256 or hashlib.sha256(url.encode()).hexdigest()
    path = tools.downloads / f"{name}.part"
    with _alone(tools.downloads / name):
        yield path, _Download(url, sha256, path, tools).run()


def discard(path: Path) -> None:
    """Delete a download that is no longer needed, unfinished or not."""
    path.unlink(missing_ok=True)
    path.with_suffix(".json").unlink(missing_ok=True)


def _sweep(downloads: Path) -> None:
    """Delete what nobody has gone on with for long."""
    for path in downloads.glob("*.*"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > KEPT:
                path.unlink()


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    """Let one process at a time write to a download."""
    place.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            # Not ``exist_ok``, which looks at what is there, when the one before us may have removed it.
            with suppress(FileExistsError):
                place.mkdir()
            flock = Flock(place)
        except FileNotFoundError:
            continue  # removed by the one before us
        with flock:
            flock.take()
            if not flock.is_at(place):
                continue
            try:
                yield
            finally:
                with suppress(OSError):
                    place.rmdir()
            return


class _Again(Unavailable):
    """What is here already and what the server has do not go together."""


class _Download:
    def __init__(self, url: str, sha256: str | None, path: Path, tools: Tools) -> None:
        self.url, self.sha256, self.path, self.tools = url, sha256, path, tools
        self.host = urllib.parse.urlsplit(url).netloc.rpartition("@")[2]
        self.continued = False

    def run(self) -> str:
        part = self._part()
        # A file that nothing pins may have changed where it comes from: there the server is asked.
        if self.sha256 and part and part.length == self._size() and self._right(self._digest()):
            return self.sha256
        self.tools.reach.check(self.host)
        digest = self._whole()
        if self._right(digest):
            return str(digest.hexdigest())
        discard(self.path)
        if self.continued:  # what was there already may have been bad: once more, all of it
            return self.run()
        raise Mismatch(f"{self.url}: the file has another SHA-256", self.sha256 or "", digest.hexdigest())

    def _whole(self) -> Any:
        """Go on until the file is there, as long as that gets anywhere; return its digest."""
        for _ in range(ATTEMPTS - 1):
            before = self._size()
            try:
                return self._attempt()
            except _Again:
                discard(self.path)
            except Unavailable:
                if self._size() <= before:
                    raise
        return self._attempt()

    def _right(self, digest: Any) -> bool:
        return self.sha256 in (None, digest.hexdigest())

    def _attempt(self) -> Any:
        """Get the rest of the file; return the digest of all of it."""
        part, size = self._part(), self._size()
        request = urllib.request.Request(self.url, headers={"User-Agent": AGENT, "Accept-Encoding": "identity"})
        # Without a validator only the final hash can tell whether both halves are of one file.
        if part and size and (part.validator or self.sha256):
            request.add_header("Range", f"bytes={size}-")
            if part.validator:
                request.add_header("If-Range", part.validator)
        response = self._open(request)
        with response:
            start, total = self._extent(response, size)
            self.continued = start > 0
            digest = self._digest(start)
            write_atomic(self.path.with_suffix(".json"), json.dumps(asdict(_part_of(self.url, response, total))).encode())
            self._receive(response, start, total, digest)
        return digest

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        """Wait no longer than ``connect`` seconds for the answer's first line, name look-up and redirects included."""
        self.tools.progress(f"connecting to {self.host}")
        answer: list[Any] = []

        def ask() -> None:
            try:
                opened = _opener().open(request, timeout=self.tools.silence)
            except Exception as error:
                opened = error
            answer.append(opened)

        # A thread, since a look-up of names has no deadline of its own. If it comes too late nobody listens.
        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(self.tools.connect)
        if not answer:
            raise self._unreachable(f"no answer within {self.tools.connect:.0f} s")
        if isinstance(answer[0], urllib.error.HTTPError):
            raise self._said(answer[0], request)
        if isinstance(answer[0], OSError):
            raise self._unreachable(_reason(answer[0])) from answer[0]
        if isinstance(answer[0], http.client.HTTPException):  # it is there, but does not speak as it should
            raise Unavailable(f"{self.url}: {_reason(answer[0])}") from answer[0]
        if isinstance(answer[0], Exception):
            raise answer[0]
        self.tools.reach.reached(self.host)
        return answer[0]  # type: ignore[no-any-return]

    def _said(self, error: urllib.error.HTTPError, request: urllib.request.Request) -> Unavailable:
        error.close()
        self.tools.reach.reached(self.host)
        if error.code == 416 and request.has_header("Range"):
            return _Again(f"{self.url}: there is less of the file than was there before")
        return Unavailable(f"{self.url}: {error.code} {error.reason}")

    def _unreachable(self, reason: str) -> Unavailable:
        self.tools.reach.failed(self.host, f"{self.host} is out of reach: {reason}")
        return Unavailable(f"{self.host} is out of reach: {reason}", host=self.host)

    def _extent(self, response: http.client.HTTPResponse, size: int) -> tuple[int, int | None]:
        """Return from which byte on the answer comes, and how long the whole file is."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Unavailable(f"{self.url}: the server sends it encoded, which was not asked for")
        total: int | None
        if response.status == 206:
            found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
            part = self._part()
            if not found or int(found[1]) != size or (part and part.length not in (None, int(found[3]))):
                raise _Again(f"{self.url}: the server sends another part of the file than was asked for")
            start, total = size, int(found[3])
        elif response.status == 200:
            start, total = 0, response.length
        else:
            raise Unavailable(f"{self.url}: an answer that is not understood ({response.status} {response.reason})")
        if total is not None and total > LARGEST:
            raise Refused(self.url, None, f"{total} bytes; at most {LARGEST} are taken")
        return start, total

    def _receive(self, response: http.client.HTTPResponse, start: int, total: int | None, digest: Any) -> None:
        at = start
        with self.path.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while True:
                try:
                    data = response.read1(_PIECE)
                except (OSError, http.client.HTTPException) as error:
                    raise Unavailable(f"{self._interrupted(at, total)}: {_reason(error)}") from error
                if not data:
                    break
                _write(file, data)
                digest.update(data)
                at += len(data)
                if at > LARGEST:
                    raise Refused(self.url, None, f"more than {LARGEST} bytes")
                self.tools.progress(f"downloading from {self.host}: {_mib(at)}{_of(total)}", done=at, total=total or 0)
        if total is not None and at < total:
            raise Unavailable(f"{self._interrupted(at, total)}: the server hung up")

    def _interrupted(self, at: int, total: int | None) -> str:
        return f"{self.url}: interrupted after {_mib(at)}{_of(total)} (the next try goes on from there)"

    def _part(self) -> _Part | None:
        with suppress(OSError, ValueError, TypeError):
            part = _Part(**json.loads(self.path.with_suffix(".json").read_bytes()))
            if self.path.is_file() and (part.url == self.url or self.sha256):
                # Of the same bytes from another place nothing but the bytes counts.
                return part if part.url == self.url else _Part(self.url, None, part.length)
        return None

    def _size(self) -> int:
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def _digest(self, size: int | None = None) -> Any:
        """Return the digest of what is there, or of the first ``size`` bytes."""
        digest = hashlib.sha256()
        left = self._size() if size is None else size
        if left:
            with self.path.open("rb") as file:
                while left and (data := file.read(min(left, _PIECE))):
                    digest.update(data)
                    left -= len(data)
        return digest


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never from a protected connection to an open one."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise http.client.HTTPException(f"redirected from https to {newurl.partition(':')[0]}")
        follow = super().redirect_request(req, fp, code, msg, headers, newurl)
        if follow is not None:
            for name, value in req.header_items():
                follow.add_header(name, value)
        return follow


def _opener() -> urllib.request.OpenerDirector:
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(), _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    return opener


def _part_of(url: str, response: http.client.HTTPResponse, total: int | None) -> _Part:
    tag = response.headers.get("ETag")
    if tag is not None and tag.startswith("W/"):
        tag = None  # a weak one does not promise the same bytes
    return _Part(url, tag or response.headers.get("Last-Modified"), total)


def _write(file: Any, data: bytes) -> None:
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise BenchError(f"{file.name} cannot be written: {error.strerror}", hint="make room on that disk") from error


def _reason(error: BaseException) -> str:
    inner = getattr(error, "reason", None)
    if isinstance(inner, OSError):
        return str(inner.strerror or inner)
    return str(inner or error) or type(error).__name__


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _of(total: int | None) -> str:
    return f" of {_mib(total)}" if total else ""
