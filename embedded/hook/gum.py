"""Brings frida-gum's interceptor into a running process that has the hook library loaded, and leaves it there.

Usage: python gum.py PID [PLACE [SCRIPT]]. Needs the right to trace the process, and the package ``frida``: from the
directory PLACE if one is named. SCRIPT is the text of gum.js; without it, the file beside this one.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def bring(pid: int, text: str) -> None:
    """Put gum and our script into the process. Raises frida's errors when that is not possible."""
    import frida  # type: ignore[import-not-found]  # brought by who runs this

    session = frida.attach(pid)
    script = session.create_script(text, name="gum", runtime="qjs")
    errors: list[str] = []
    script.on("message", lambda message, _data: errors.append(str(message.get("description", message))))
    script.load()
    if errors:
        raise RuntimeError(errors[0])
    script.eternalize()
    session.detach()


def main(words: list[str]) -> int:
    """Run with the words of the command line; 0 when gum is ready in the process."""
    if not 1 <= len(words) <= 3 or not words[0].isdigit():
        print("usage: gum.py PID [PLACE [SCRIPT]]", file=sys.stderr)
        return 2
    sys.path[:0] = words[1:2]
    try:
        text = words[2] if len(words) > 2 else Path(__file__).with_name("gum.js").read_text()
        with tempfile.TemporaryDirectory(prefix="gum-") as place:
            os.environ["TMPDIR"] = place  # frida leaves a helper behind now and then
            bring(int(words[0]), text)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
