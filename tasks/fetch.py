"""fetch_<source>: a third-party tree in the store."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bpfbench.context import Context, current
from bpfbench.model.types import Source
from tasks.task import task_of, unless_empty

if TYPE_CHECKING:
    from bpfbench.fetching import FetchStep


@unless_empty
def task_fetches() -> Iterator[dict[str, Any]]:
    """Fetch each source."""
    context = current()
    for source in context.model.sources.values():
        yield task_of(f"fetch_{source.name}", f"fetch: {source.title}", functools.partial(_step, context, source))


def _step(context: Context, source: Source) -> FetchStep:
    from bpfbench.fetching import fetch_step

    return fetch_step(context, source)
