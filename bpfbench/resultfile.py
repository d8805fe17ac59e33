"""Reading a result from its file: the one place where text becomes a result, or an error that says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bpfbench.errors import BenchError

SCHEMA = "bpfbench-result/1"


def read_result(path: Path) -> dict[str, Any] | None:
    """Return the result in a file, None if there is no file. Raises ``BenchError`` when it is no result."""
    again = f"delete it and run: ./bench run_{path.stem}"
    try:
        result = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise BenchError(f"{path}: not a readable result: {error}", hint=again) from None
    if not isinstance(result, dict) or result.get("schema") != SCHEMA:
        raise BenchError(f"{path}: not a result in the format {SCHEMA}", hint=again)
    return result


def the_result(path: Path) -> dict[str, Any]:
    """Do as ``read_result``, and raise ``BenchError`` too when there is no file."""
    result = read_result(path)
    if result is None:
        raise BenchError(f"{path}: there is no result", hint=f"./bench run_{path.stem}")
    return result
