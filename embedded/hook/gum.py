"""Brings frida-gum's interceptor into a running process that has the hook library loaded, and leaves it there.

Usage: python gum.py PID. Needs the package `frida` and the right to trace the process.
"""

from __future__ import annotations

import sys
from pathlib import Path


def bring(pid: int) -> None:
    """Put gum and our script into the process. Raises frida's errors when that is not possible."""
    import frida

    session = frida.attach(pid)
    script = session.create_script(Path(__file__).with_name("gum.js").read_text(), name="gum", runtime="qjs")
    errors: list[str] = []
    script.on("message", lambda message, _data: errors.append(str(message.get("description", message))))
    script.load()
    if errors:
        raise RuntimeError(errors[0])
    script.eternalize()
    session.detach()


def main() -> int:
    """Run with the words of the command line; 0 when gum is ready in the process."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        print("usage: gum.py PID", file=sys.stderr)
        return 2
    try:
        bring(int(sys.argv[1]))
    except Exception as error:
        print(f"gum.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
