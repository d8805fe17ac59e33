"""Hands out the generator of invented results."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def make() -> Callable[..., dict[str, Any]]:
    """Return ``sample.make``."""
    path = Path(__file__).resolve().parents[1] / "report" / "sample.py"
    spec = importlib.util.spec_from_file_location("bpfbench_invented_result", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.make  # type: ignore[no-any-return]
