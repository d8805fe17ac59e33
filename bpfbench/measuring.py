"""The step behind ``run_<experiment>``: samples in the store, and the result JSON derived from them.

Two items and not one: samples are expensive and keep their key for years; the result is summaries, titles and comparisons of
them, made anew whenever statistics or specs' wording change, without measuring.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bpfbench.errors import BenchError
from bpfbench.measure.request import Output, Request, extent, run_key
from bpfbench.steps import Standing, Step, View
from bpfbench.store.files import write_atomic
from bpfbench.store.keys import Change, Key, make_key
from bpfbench.store.store import Item

if TYPE_CHECKING:
    from bpfbench.context import Context
    from bpfbench.model.types import Experiment
    from bpfbench.progress import Progress

JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class MeasureStep:
    """Measures one experiment and shows its result."""

    context: Context
    subject: str
    """The experiment's name."""
    output: Callable[[str], Output | None]
    """Package name → its built output, None while it is not built."""
    missing: Callable[[str], str | None] = lambda name: None
    """Package name → why it cannot be had on this machine; None: it can be built."""

    @property
    def name(self) -> str:
        """The task's name."""
        return f"run_{self.subject}"

    @property
    def experiment(self) -> Experiment:
        """What is measured; decoded when it is asked for, since a list of a thousand asks for none."""
        return self.context.model.experiments[self.subject]

    @property
    def pointer(self) -> Path:
        """The task's target for doit."""
        return self._result().pointer

    @property
    def shown(self) -> Path:
        """Where the result JSON is shown."""
        return self.context.results / f"{self.subject}.json"

    def request(self) -> Request | None:
        """Return what this run would measure; None while a package is not built.

        A package that cannot be had takes the arms away that execute it: all of them, where the experiment itself needs it.
        """
        outputs = {name: self.output(name) for name in self.context.packages(self.subject)}
        absent = {name: self.missing(name) for name, output in outputs.items() if output is None}
        if None in absent.values():
            return None
        return self._request(
            {name: output for name, output in outputs.items() if output}, {name: why for name, why in absent.items() if why}
        )

    def _request(self, outputs: Mapping[str, Output], missing: Mapping[str, str] | None = None) -> Request:
        context, words = self.context, self.context.words
        return Request(
            self.experiment, context.model.runtimes, context.profile, outputs,
            context.machine, words.arms, words.cases, words.budget, words.overrides, words.take, words.accept_noise, missing or {},
        )

    def key(self) -> Key | None:
        """Return the samples' key: it decides what is measured; None while a package is not built."""
        return self._samples_key()

    def standing(self) -> Standing:
        """Say whether there is something to measure or to derive, and why."""
        samples = self._samples()
        standing = samples.standing()
        # Up to date means that the item last taken is the one of the present key: no need to find it again.
        return self._result(samples.last()).standing() if standing.uptodate else standing

    def look(self) -> tuple[bool, list[str]]:
        """Say whether both items are up to date, and name every path that this depends on."""
        samples = self._samples()
        good, paths = samples.look()
        if good:
            good, more = self._result(samples.last()).look()
            paths += more
        return good, paths

    def wanted(self) -> list[Key]:
        """Return the keys of the samples and of the result derived from them, as far as they can be told now."""
        return [*self._samples().wanted(), *self._result().wanted()]

    def run(self, progress: Progress) -> None:
        """Measure unless the store has the samples, and show the result, also that of a run in which something failed."""
        from bpfbench.measure.result import result_of
        from bpfbench.measure.run import measure

        request = self.request()
        key = self._samples().key()
        if request is None or key is None:
            needed = " and ".join(f"build_{name}" for name in self.context.packages(self.subject))
            message = f"{self.name}: {needed} must be run first"
            raise BenchError(message, hint=f"./bench {self.name} does that, without -s")
        measured = measure(request, key, self.context.layout, self.context.mark, progress)
        if measured.item:
            # Derived from the item just measured, not from the present key: a file edited meanwhile changes that key.
            self._samples().point(measured.item)
            self._result(measured.item, request).run(progress)
        else:
            self._result().forget_view()
            write_atomic(self.shown, dump(result_of(request, key.id, measured.state)))

    def changed(self) -> list[Change] | None:
        """Return what changed in the samples' key since they were last taken, else in the result's key."""
        return self._samples().changed() or self._result().changed()

    def last(self) -> Item | None:
        """Return the samples that were last taken here."""
        return self._samples().last()

    def last_alike(self) -> Item | None:
        """Return the samples last taken here if this run would take as many: as long a profile, the same cells."""
        last = self.last()
        if last is None:
            return None
        asked, components = self._request({}), last.manifest.key.components
        cases, arms = {case.name for case in asked.chosen_cases}, {arm.name for arm in asked.chosen_arms}
        same = components["experiment"]["cases"].keys() == cases and components["arms"].keys() == arms
        return last if same and components["profile"] == extent(asked) else None

    def budget(self) -> float:
        """Return the seconds of sampling that a run may take."""
        words = self.context.words
        return self.context.profile.budget_of(self.subject) if words.budget is None else words.budget

    def _samples(self) -> Step:
        return Step(f"samples_{self.subject}", self.context.layout, self._samples_key, _never)

    def _result(self, samples: Item | None = None, request: Request | None = None) -> Step:
        """Return the step that derives the result of ``samples``; without any, of those of the present key.

        ``request`` is what they were taken for, where that is known: what is built may have changed since.
        """

        def key() -> Key | None:
            found = samples or self._samples().item()
            return self._result_key(found) if found else None

        def derive(tree: Path, progress: Progress) -> None:
            found = samples or self._samples().item()
            assert found
            self._derive(found, request or self.request(), tree, progress)

        return Step(self.name, self.context.layout, key, derive, View(self.context.results))

    def _samples_key(self) -> Key | None:
        request = self.request()
        return run_key(request, self.context.codes, self.context.layout.state) if request else None

    def _result_key(self, samples: Item) -> Key:
        codes = self.context.codes.of(["measure/result.py", "measure/fold.py", "measure/noise.py", "stats"])
        return make_key(
            f"result-{self.subject}",
            {"samples": samples.hash, "code": codes, "wording": self._wording(), "overrides": dict(self.context.words.overrides)},
        )

    def _wording(self) -> str:
        """Return the digest of all that the specs say of this experiment: titles and labels stand in the result."""
        runtimes = [asdict(self.context.model.runtimes[arm.runtime]) for arm in self.experiment.arms]
        told: dict[str, Any] = {"experiment": asdict(self.experiment), "runtimes": runtimes, "profile": asdict(self.context.profile)}
        for entry in (told["experiment"], *told["runtimes"]):
            entry.pop("location")  # where a spec stands in its file changes nothing
        return hashlib.sha256(json.dumps(told, sort_keys=True, default=dict).encode()).hexdigest()

    def _derive(self, samples: Item, request: Request | None, tree: Path, progress: Progress) -> None:
        from bpfbench.measure.fold import fold
        from bpfbench.measure.journal import read
        from bpfbench.measure.result import result_of

        progress("summarising")
        if request is None:
            raise BenchError(f"{self.name}: a package that it needs is not built any more", hint=f"./bench {self.name} builds it first")
        result = result_of(request, samples.id, fold(read(samples.tree / JOURNAL)))
        (tree / f"{self.subject}.json").write_bytes(dump(result))


def dump(result: dict[str, Any]) -> bytes:
    """Return result JSON as it is stored and shown: sorted by the writer, readable, finite numbers only."""
    return json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n"


def _never(tree: Path, progress: Progress) -> None:
    raise RuntimeError("samples are realised by bpfbench.measure.run")
