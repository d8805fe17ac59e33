"""A result with its parts by name, so that rules read like sentences."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

Part = Mapping[str, Any]


class View:
    """Read-only access to a result whose schema holds. Of parts with the same name the first counts."""

    def __init__(self, result: Part) -> None:
        self.result = result

    def _by_name(self, key: str) -> dict[str, Part]:
        found: dict[str, Part] = {}
        for part in self.result[key]:
            found.setdefault(part["name"], part)
        return found

    @cached_property
    def arms(self) -> dict[str, Part]:
        """Arms by name, in the order of the spec."""
        return self._by_name("arms")

    @cached_property
    def cases(self) -> dict[str, Part]:
        """Cases by name, in the order of the spec."""
        return self._by_name("cases")

    @cached_property
    def metrics(self) -> dict[str, Part]:
        """Metrics by name."""
        return self._by_name("metrics")

    @cached_property
    def primary(self) -> Part | None:
        """The primary metric, if there is one."""
        return next((metric for metric in self.metrics.values() if metric["primary"]), None)

    @cached_property
    def cells(self) -> dict[tuple[str, str], Part]:
        """Cells by (case, arm)."""
        found: dict[tuple[str, str], Part] = {}
        for cell in self.result["cells"]:
            found.setdefault((cell["case"], cell["arm"]), cell)
        return found

    def ok(self, case: str, arm: str) -> bool:
        """Whether that cell is there and ok."""
        cell = self.cells.get((case, arm))
        return cell is not None and cell["status"] == "ok"

    def instruments(self, arm: str) -> bool:
        """Whether that arm runs programs; an arm that nobody declared is taken to."""
        return arm not in self.arms or self.arms[arm]["where"] != "none"
