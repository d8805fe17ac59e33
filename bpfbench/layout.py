"""Where things lie in a checkout. Every path in the program starts from a ``Layout``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of one checkout.

    ``root`` is the checkout (absolute). ``store`` may lie elsewhere and be shared (``store=/path``).
    """

    root: Path
    store: Path

    @classmethod
    def of(cls, root: Path, store: Path | None = None) -> Layout:
        """Return the layout of the checkout at ``root``, with its own store unless another is given."""
        root = root.resolve()
        return cls(root, store.resolve() if store else root / "vendor" / "store")

    @property
    def specs(self) -> Path:
        """YAML specs, written by people."""
        return self.root / "specs"

    @property
    def schemas(self) -> Path:
        """JSON Schemas of specs and results."""
        return self.root / "schemas"

    @property
    def results(self) -> Path:
        """Results, figures and reports: a view of the store."""
        return self.root / "results"

    @property
    def state(self) -> Path:
        """This checkout's own state: everything in it can be deleted without losing a result."""
        return self.root / ".bench"

    @property
    def pointers(self) -> Path:
        """One small file a task, naming the store item that the task last realised."""
        return self.state / "pointers"

    @property
    def progress(self) -> Path:
        """One small file a running task, read by the live display."""
        return self.state / "progress"

    @property
    def journals(self) -> Path:
        """Unfinished measurements, one directory a run key; resumed or thrown away."""
        return self.state / "journals"

    @property
    def work(self) -> Path:
        """Private directories of running samples and builds; swept when their owner is gone."""
        return self.state / "work"

    @property
    def drawing(self) -> Path:
        """What matplotlib remembers of this machine's fonts, which is not put into anybody's home."""
        return self.state / "drawing"

    @property
    def lock(self) -> Path:
        """Held by the one doit that may write in this checkout."""
        return self.state / "lock"
