"""Where the campaign's sources come from: a web server and a git repository of our own, which can be made to lie."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LIES = ("truncated", "other", "longer", "shorter", "missing", "broken", "empty", "page", "slow")
"""What a mirror can do instead of giving what it should: end early, give other bytes, announce more or less than it gives, know
nothing, hang up, give nothing, give a web page in the place of the file, or take its time."""

SIZE = 3 << 20
"""Bytes of the source's large file: enough to be cut off while it is on its way."""


class Mirrors:
    """Two mirrors of one archive, each of which can be told how to behave. A context manager."""

    def __init__(self, place: Path) -> None:
        self.archive = _archive()
        self.lies: dict[str, str] = {}
        """Name of a mirror → how it lies now."""
        self.asked: list[str] = []
        self.place = place
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.repository = _repository(place / "repository")

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()

    def specs(self) -> dict[str, str]:
        """Return file below specs/ → text: two sources, and a package that is built from them."""
        mirrors = [f"  - {{method: archive, url: 'http://127.0.0.1:{self.port}/{name}/small-1.tar.gz'}}" for name in ("one", "two")]
        return {
            "sources/mirrored.yaml": "source: mirrored\ntitle: from two mirrors\nreference: '1'\norigins:\n" + "\n".join(mirrors) + "\n",
            "sources/cloned.yaml": "source: cloned\ntitle: from git\nreference: main\norigins:\n"
            f"  - {{method: git, url: 'file://{self.repository}', ref: main}}\n",
            "packages/small.yaml": "package: small\ntitle: from two sources\nrecipe: make\nsources: [mirrored, cloned]\n"
            "needs: [gcc, make]\noptions:\n  memory: 50\n  outputs:\n    bin/small: mirrored/small\n    share/: cloned/data/*\n",
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        mirrors = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.split("/")[1]
                mirrors.asked.append(name)
                mirrors.answer(self, mirrors.lies.get(name, ""))

            def log_message(self, *_: Any) -> None:
                pass

        return Handler

    def answer(self, to: BaseHTTPRequestHandler, lie: str) -> None:
        """Give the archive, or what the lie is about."""
        data, announced = self.archive, len(self.archive)
        if lie == "missing":
            to.send_error(404)
            return
        if lie == "broken":
            to.close_connection = True
            return
        if lie == "other":
            data = data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]
        elif lie == "page":
            data = b"<html>Please log in</html>"
            announced = len(data)
        elif lie == "empty":
            data, announced = b"", 0
        elif lie == "shorter":
            announced = len(data) // 2
        elif lie == "longer":
            announced += 1000
        elif lie == "truncated":
            data = data[: len(data) // 3]
        to.send_response(200)
        to.send_header("Content-Length", str(announced))
        to.end_headers()
        step = max(1, len(data) // 20)
        try:
            for start in range(0, len(data), step):
                to.wfile.write(data[start : start + step])
                time.sleep(0.1 if lie == "slow" else 0.01)
        except OSError:  # whoever wanted it was killed
            pass
        to.close_connection = True


def _archive() -> bytes:
    """Return a source with a makefile, some hundred files and a large one that no compression makes small."""
    files = {
        "Makefile": b"small: small.c\n\tgcc -O2 -o small small.c\n",
        "small.c": b'#include <stdio.h>\nint main(void) { return puts("small") < 0; }\n',
        "large": b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(SIZE // 32)),
        **{f"many/{number}": b"%d" % number for number in range(300)},
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"small-1/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _repository(place: Path) -> Path:
    place.mkdir()
    (place / "data").mkdir()
    for number in range(50):
        (place / "data" / str(number)).write_text(f"{number}\n" * 500)

    def git(*words: str) -> None:
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *words],
            cwd=place,
            check=True,
            capture_output=True,
        )

    git("init", "--quiet", "--initial-branch=main")
    git("add", ".")
    git("commit", "--quiet", "--message=all")
    return place
