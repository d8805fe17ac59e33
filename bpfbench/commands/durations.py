"""How long tasks took before and how much room they used, for plans and ETAs: from the store's own manifests."""

from __future__ import annotations

from typing import Any



def expected_seconds(step: Any) -> float | None:
    """Return how long a step took when it was last made here; for a measurement never made, its budget."""
    meta = _last_meta(step)
    if meta and isinstance(meta.get("wall"), (int, float)):
        return float(meta["wall"])
    budget = getattr(step, "budget", None)
    return float(budget()) if budget else None


def expected_bytes(step: Any) -> int | None:
    """Return how much room the step's item took when it was last made here."""
    item = step.last()
    return item.manifest.size if item else None


def _last_meta(step: Any) -> dict[str, Any] | None:
    item = step.last()
    return dict(item.manifest.meta) if item else None
