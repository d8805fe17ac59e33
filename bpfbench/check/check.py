"""Checks a result: first its schema, then whether what it says can be true."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from bpfbench.check.meaning import meaning
from bpfbench.check.problem import Problem
from bpfbench.errors import BenchError

__all__ = ["Problem", "check_result"]


def check_result(result: Mapping[str, Any], schema_dir: Path) -> list[Problem]:
    """Return everything that is wrong with ``result``; an empty list means that it may be drawn and reported.

    ``schema_dir`` holds ``result.json``. What breaks the schema is reported alone: meaning needs the shape.
    """
    problems = [*_not_finite(result, ""), *_schema_problems(result, _load_schema(schema_dir))]
    return problems or sorted(set(meaning(result)))


def _load_schema(schema_dir: Path) -> Mapping[str, Any]:
    path = schema_dir / "result.json"
    try:
        schema: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: the schema of results cannot be read: {error}") from error
    return schema


def _schema_problems(result: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Problem]:
    validator = jsonschema.Draft202012Validator(schema)
    for error in sorted(validator.iter_errors(result), key=lambda e: [str(part) for part in e.absolute_path]):
        message = error.message if len(error.message) <= 300 else error.message[:300] + " …"
        yield Problem(_dotted(error.absolute_path), message)


def _dotted(parts: Any) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".")


def _not_finite(value: Any, path: str) -> Iterator[Problem]:
    """Find NaN and infinities anywhere: JSON has neither, but Python's reader and writer let them through."""
    if isinstance(value, float) and not math.isfinite(value):
        yield Problem(path, f"{value} is not a finite number")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _not_finite(item, f"{path}.{key}".removeprefix("."))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _not_finite(item, f"{path}[{index}]")
