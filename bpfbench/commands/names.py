"""Did you mean …?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean "x"?`` for the known name closest to a misspelt one, or nothing."""
    found = difflib.get_close_matches(name, list(known), 1, 0.6)
    return f', did you mean "{found[0]}"?' if found else ""
