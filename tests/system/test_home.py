"""Nothing is put into anybody's home, and none is made that is not there: root can make it, and others then trip over it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .bad_luck import Checkout

pytestmark = pytest.mark.system


def test_a_home_that_is_not_there_is_not_made(complete: Checkout, another: Callable[[Checkout], Checkout], tmp_path: Path) -> None:
    checkout, home = another(complete), tmp_path / "nonexistent"
    for item_id in checkout.store.ids():
        checkout.store.remove(item_id)
    shutil.rmtree(checkout.root / "results")
    done = checkout.succeed(env={"HOME": str(home)})
    assert {"build_uprobe", "run_tiny", "figure_tiny", "report"} <= {*done.executed}
    assert list(tmp_path.iterdir()) == []
