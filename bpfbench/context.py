"""Everything that a task or a command needs to know about this call: checkout, model, words, machine.

Made once, in dodo.py, from the command line; all of it is cheap or looked at on first use.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bpfbench.errors import BenchError
from bpfbench.layout import Layout
from bpfbench.measure import prerequisites
from bpfbench.model.cache import load_cached
from bpfbench.model.outline import Outline, outlines
from bpfbench.model.types import Model, Profile, Words
from bpfbench.model.words import parse_words

# What `doit list` does not look at is imported where it is: most calls of doit have nothing to do.
if TYPE_CHECKING:
    from bpfbench.codedigest import CodeDigests
    from bpfbench.glance import Glances
    from bpfbench.measure.fingerprint import Fingerprint
    from bpfbench.store.keys import Key

_LONGEST_SELECTION = 60
_current: Context | None = None


@dataclass(frozen=True)
class Context:
    """One call of doit in one checkout."""

    layout: Layout
    model: Model
    words: Words
    cwd: Path
    """Where the user stands: relative paths are meant, and shown, from there."""

    @cached_property
    def codes(self) -> CodeDigests:
        """Digests of our own code."""
        from bpfbench.codedigest import CodeDigests

        return CodeDigests(self.layout.state / "code.json")

    @cached_property
    def machine(self) -> Fingerprint:
        """The machine that measures."""
        from bpfbench.measure.fingerprint import fingerprint

        return fingerprint()

    @property
    def profile(self) -> Profile:
        """The profile asked for."""
        return self.model.profiles[self.words.profile]

    @cached_property
    def mark(self) -> str:
        """What all processes started from this checkout carry in their environment."""
        import hashlib

        return "bpfbench-" + hashlib.sha256(str(self.layout.root).encode()).hexdigest()[:16]

    @cached_property
    def results(self) -> Path:
        """Where this call's results are shown. A partial or overridden run has a place of its own and replaces no full one."""
        return self.layout.results / self.machine.name / (self.words.profile + self._partial + self._take + self._overrides)

    @cached_property
    def package_keys(self) -> dict[str, Key]:
        """The keys of packages that were looked at already: one call builds and measures what it found first."""
        return {}

    @cached_property
    def source_keys(self) -> dict[str, Key]:
        """The same for sources."""
        return {}

    @cached_property
    def glimpsed(self) -> dict[str, str]:
        """What was found of packages' outputs, by name: for a glance alone, and forgotten when a task has run."""
        return {}

    def moved(self) -> None:
        """Forget what was seen at a glance: a task has begun or ended."""
        self.glimpsed.clear()
        if "glances" in self.__dict__:
            self.glances.forget()

    @cached_property
    def glances(self) -> Glances:
        """How tasks stood when they were last looked at closely."""
        from bpfbench.codedigest import own_files
        from bpfbench.glance import Glances, stamps_of
        from bpfbench.measure.standing import deciding

        state = self.layout.state
        files = [f"{state}/prerequisites.json", f"{self.layout.root}/requirements/run.txt", *own_files()]
        shared = [self.layout, self.words, self.model.digest, self.machine.digest, deciding(), stamps_of(files)]
        return Glances(state / "glances", "\n".join(map(str, shared)))

    @cached_property
    def named(self) -> set[str]:
        """The names and patterns of tasks that this call was given: what is named is tried, whatever is recorded."""
        return set()

    @property
    def _partial(self) -> str:
        """Return the selection as part of a file name: another selection is another result."""
        chosen = [*(self.words.arms or ()), *(self.words.cases or ())]
        if not chosen:
            return ""
        name = ",".join(sorted(chosen))
        if len(name) > _LONGEST_SELECTION:
            import hashlib

            name = f"{len(chosen)}-names-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        return f"+partial-{name}"

    @property
    def _take(self) -> str:
        return f"+take-{self.words.take}" if self.words.take else ""

    @property
    def _overrides(self) -> str:
        return "".join(f"@{name}" for name in sorted(self.words.overrides))

    @cached_property
    def pointers(self) -> str:
        """Where pointers lie, as the start of a file name: there may be thousands of tasks."""
        return f"{self.layout.pointers}/"

    @cached_property
    def chosen(self) -> tuple[Outline, ...]:
        """The experiments that have any of the arms and cases asked for."""
        words = self.words
        found = outlines(self.model)
        if words.arms is not None:
            arms = set(words.arms)
            found = [one for one in found if not arms.isdisjoint(one.arms)]
        if words.cases is not None:
            cases = set(words.cases)
            found = [one for one in found if not cases.isdisjoint(one.cases)]
        return tuple(found)

    @cached_property
    def _packages(self) -> dict[str, tuple[str, ...]]:
        asked, usual = self.words.arms, self.profile.arms
        return {one.name: one.packages(asked or usual.get(one.name)) for one in outlines(self.model)}

    def packages(self, experiment: str) -> tuple[str, ...]:
        """Return the packages that an experiment executes in this call: its workload's and those of the chosen arms' runtimes."""
        return self._packages[experiment]


def create(root: Path, words: Mapping[str, str], cwd: Path) -> Context:
    """Return the context of this call and make it the current one. Raises ``BenchError`` on any bad spec or word."""
    global _current
    if "SUDO_UID" in os.environ:  # before the first file is written, such as the model's cache
        from bpfbench.process import identity

        identity.drop()
    model = load_cached(Layout.of(root))
    checked = parse_words(words, model, cwd)
    _check_prerequisite_names(model)
    layout = Layout.of(root, Path(checked.store) if checked.store else None)
    _current = Context(layout, model, checked, cwd)
    return _current


def _check_prerequisite_names(model: Model) -> None:
    """Refuse a runtime that asks for a prerequisite nobody can check: the model cannot know their names."""
    known = prerequisites.names()
    for runtime in model.runtimes.values():
        for name in runtime.requires:
            if name not in known:
                where = f"{runtime.location}: requires: no prerequisite is called {name!r}"
                raise BenchError(f"{where}\n    expected one of: {', '.join(known)}", hint="name one of these, or leave it out")


def exists() -> bool:
    """Whether this process loaded our task file."""
    return _current is not None


def current() -> Context:
    """Return the context that dodo.py made."""
    if _current is None:
        raise RuntimeError("no context: the task file was not loaded")
    return _current
