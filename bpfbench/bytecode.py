"""Our own modules compiled beforehand, so that no Python of ours has to do it while it imports them.

Python up to 3.13.0 does not look whether a compiled module was written whole: on a full disk it keeps half of one, and ends with
an error about it at every later start. So ./bench forbids it to write any, and what is missing or out of date is written here,
whole or not at all. Standard library only: bpfbench.bootstrap uses this too.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
from contextlib import suppress
from pathlib import Path

FOLDERS = ("bpfbench", "tasks")
TASK_FILE = "dodo.py"


def compile_own(root: Path) -> int:
    """Compile what is missing or out of date in the checkout at ``root``; return how many modules that were.

    A module that cannot be compiled, or whose place cannot be written, is passed over: Python says so when it imports it, or does
    without.
    """
    return sum(map(_compile, [f"{root}/{TASK_FILE}", *(path for folder in FOLDERS for path in _sources(root / folder))]))


def _sources(folder: Path) -> list[str]:
    return [f"{place}/{name}" for place, _, names in os.walk(folder) for name in names if name.endswith(".py")]


def _compile(source: str) -> bool:
    with suppress(OSError, SyntaxError, ValueError):
        info = os.stat(source)  # noqa: PTH116 - two hundred modules, at every run
        compiled = importlib.util.cache_from_source(source)
        head = _head(info)
        if _begins_with(compiled, head):
            return False
        code = compile(Path(source).read_bytes(), source, "exec", dont_inherit=True, optimize=-1)
        _write(compiled, head + marshal.dumps(code))
        return True
    return False


def _head(info: os.stat_result) -> bytes:
    """Return how a compiled module begins that belongs to a source as it is now (PEP 552)."""
    stamps = (0, int(info.st_mtime) & 0xFFFFFFFF, info.st_size & 0xFFFFFFFF)
    return importlib.util.MAGIC_NUMBER + b"".join(stamp.to_bytes(4, "little") for stamp in stamps)


def _begins_with(path: str, head: bytes) -> bool:
    with suppress(OSError), open(path, "rb", buffering=0) as file:  # noqa: PTH123
        return file.read(len(head)) == head
    return False


def _write(path: str, data: bytes) -> None:
    target = Path(path)
    target.parent.mkdir(exist_ok=True)
    temporary = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
