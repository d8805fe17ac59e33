"""A result with its parts by name, so that check and report, which read it, read like sentences."""

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
    def groups(self) -> dict[str, Part]:
        """Groups by name, in the order of the spec."""
        return self._by_name("groups")

    @cached_property
    def metrics(self) -> dict[str, Part]:
        """Metrics by name."""
        return self._by_name("metrics")

    @cached_property
    def primary(self) -> Part | None:
        """The primary metric, if there is one."""
        return next((metric for metric in self.metrics.values() if metric["primary"]), None)

    @property
    def counts(self) -> bool:
        """Whether the primary metric is a plain count: such a result says what is so, and nothing of it is an estimate."""
        return self.primary is not None and self.primary["unit"] == "1"

    @cached_property
    def cells(self) -> dict[tuple[str, str], Part]:
        """Cells by (case, arm)."""
        found: dict[tuple[str, str], Part] = {}
        for cell in self.result["cells"]:
            found.setdefault((cell["case"], cell["arm"]), cell)
        return found

    @cached_property
    def comparisons(self) -> dict[tuple[str, str, str, str], Part]:
        """Comparisons by (case, metric, arm, against)."""
        items = self.result["comparisons"]
        return {(item["case"], item["metric"], item["arm"], item["against"]): item for item in items}

    @cached_property
    def operations(self) -> dict[tuple[str, str], Part]:
        """Costs of single operations by (case, arm)."""
        return {(item["case"], item["arm"]): item for item in self.result["operations"]}

    def ok(self, case: str, arm: str) -> bool:
        """Whether that cell is there and ok."""
        cell = self.cells.get((case, arm))
        return cell is not None and cell["status"] == "ok"

    def summary(self, case: str, arm: str, metric: str) -> Part | None:
        """Return the summary of a metric, or None unless that cell is ok and has it."""
        return self.cells[case, arm]["metrics"].get(metric) if self.ok(case, arm) else None

    def instruments(self, arm: str) -> bool:
        """Whether that arm runs programs; an arm that nobody declared is taken to."""
        return arm not in self.arms or self.arms[arm]["where"] != "none"

    def arms_in(self, where: str) -> list[str]:
        """Return the names of the arms whose programs run there."""
        return [name for name, arm in self.arms.items() if arm["where"] == where]

    def cases_of(self, *, inner: bool) -> list[str]:
        """Return the cases that are stated per inner operation, or all the others.

        That is those with a floor, unless no arm has the cost of a single operation at all.
        """
        return [
            name
            for name, case in self.cases.items()
            if (case["floor"] is not None and bool(self.operations)) is inner
        ]

    def arms_of(self, *, inner: bool) -> list[str]:
        """Return the arms that can have such costs: where nothing is hooked there is no operation."""
        if not inner:
            return list(self.arms)
        measured = {arm for _, arm in self.operations}
        return [name for name in self.arms if self.instruments(name) or name in measured]
