"""doit's database, as the disposable cache that it is here: a torn file counts as empty, and none is ever torn by us."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from doit.dependency import JsonDB


class SafeJsonDB(JsonDB):  # type: ignore[misc]
    """doit's JSON backend, written atomically and read with tolerance. What is true lies in the store."""

    desc = "JSON file, written atomically; losing it costs nothing"

    def _load(self) -> dict[str, Any]:
        try:
            loaded = json.loads(Path(self.name).read_bytes())
        except (OSError, ValueError):
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def dump(self) -> None:
        """Write the database; where that is impossible (full disk, read-only checkout), go without."""
        path = Path(self.name)
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            try:
                temporary.write_text(self.codec.encode(self._db))
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
