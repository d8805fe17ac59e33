"""The ``name=value`` words of the command line, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from bpfbench.errors import BenchError
from bpfbench.model.outline import outlines
from bpfbench.model.problems import did_you_mean, nearest, one_of
from bpfbench.model.types import Model, Words
from bpfbench.model.units import DURATION, seconds

REFERENCE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~/-]*")
"""What a source's reference may look like: as in schemas/source.json."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word that may be given: ``name=value``, and what it does."""

    name: str
    value: str
    meaning: str


WORDS = (
    Word("profile", "NAME", "how much is measured"),
    Word("arms", "NAME,…", "only these arms; the result is marked as partial"),
    Word("cases", "NAME,…", "only these cases; the result is marked as partial"),
    Word("budget", "DURATION", "how long one experiment may sample, such as 30m"),
    Word("store", "PATH", "a store in another place, which several checkouts may share"),
    Word("take", "NAME", "measure the same again, kept beside the first result"),
    Word("noise", "accept", "measure although the machine is busy; the result says so"),
    Word("to", "REFERENCE", "for `lock` with one name: the version, tag, branch or commit that it is to have"),
    Word("a", "PATH", "for `compare_…`: the build tree that is judged"),
    Word("b", "PATH", "for `compare_…`: the build tree that it is compared with"),
    Word("override.NAME", "PATH", "a local checkout in place of that source, or a build tree for a package that is not built here"),
)
"""Every word there is; ``override.NAME`` stands for as many as there are sources and packages."""


def declared_words(model: Model) -> list[Word]:
    """Return every word with the values that this model lets it take, for help."""
    names = {
        "profile": ", ".join(model.profiles) + f" (without it: {model.default_profile})",
        "arms": ", ".join(_arms(model)),
        "override.NAME": ", ".join(_replaceable(model)),
    }
    return [
        Word(w.name, w.value, w.meaning + (f": {names[w.name]}" if names.get(w.name) else "")) for w in WORDS
    ]


def parse_words(words: Mapping[str, str], model: Model, cwd: Path) -> Words:
    """Check the words against the model; paths are relative to ``cwd``.

    Raises ``BenchError`` that tells everything that is wrong with all of them.
    """
    reader = _Reader(model, cwd)
    for name, value in words.items():
        reader.read(name, value)
    reader.combine()
    if len(reader.errors) == 1:
        raise reader.errors[0]
    if reader.errors:
        raise BenchError("\n".join(str(error) for error in reader.errors))
    return Words(
        profile=reader.profile,
        arms=reader.arms,
        cases=reader.cases,
        budget=reader.budget,
        store=reader.store,
        overrides=reader.overrides,
        take=reader.take,
        to=reader.to,
        compared=reader.compared,
        accept_noise=reader.accept_noise,
    )


class _Reader:
    """Reads one word after the other and collects what is wrong."""

    def __init__(self, model: Model, cwd: Path) -> None:
        self.model = model
        self.cwd = cwd
        self.errors: list[BenchError] = []
        self.profile = model.default_profile
        self.arms: tuple[str, ...] | None = None
        self.cases: tuple[str, ...] | None = None
        self.budget: float | None = None
        self.store: str | None = None
        self.overrides: dict[str, str] = {}
        self.take: str | None = None
        self.to: str | None = None
        self.compared: dict[str, str] = {}
        self.accept_noise = False

    def read(self, name: str, value: str) -> None:
        if name == "profile":
            if self.known(name, value, "profile", list(self.model.profiles)):
                self.profile = value
        elif name == "arms":
            self.arms = self.names(name, value, "arm", _arms(self.model))
        elif name == "cases":
            self.cases = self.names(name, value, "case", _cases(self.model))
        elif name == "budget":
            self.budget = seconds(value)
            if self.budget is None:
                self.wrong(f'budget={value}: expected {DURATION}, found "{value}"', "for example budget=30m")
        elif name == "store":
            self.store = self.directory(value)
        elif name == "take":
            self.take = self.plain_name(value)
        elif name == "to":
            self.to = self.reference(value)
        elif name in ("a", "b"):
            self.side(name, value)
        elif name == "noise":
            self.accept_noise = self.known(name, value, "way to treat noise", ["accept"])
        elif name == "override" or name.startswith("override."):
            self.override(name, value)
        else:
            self.unknown(name, value)

    def unknown(self, name: str, value: str) -> None:
        valid = [word.name for word in WORDS]
        head, _, rest = name.partition(".")
        near = nearest(head, [word.partition(".")[0] for word in valid])
        meant = f"{near}.{rest or 'NAME'}" if near == "override" else near
        hint = f'did you mean "{meant}"?' if near else "environment variables go before the command"
        self.wrong(f'{name}={value}: there is no word "{name}"; expected one of: {", ".join(valid)}', hint)

    def override(self, name: str, value: str) -> None:
        target = name.removeprefix("override").removeprefix(".")
        if not target:
            self.wrong(f"{name}={value}: override needs a name", "write override.NAME=/path")
        elif self.known(name, target, "source or build", _replaceable(self.model), shown=value):
            path = self.path(value)
            if path is None:
                self.wrong(f"{name}=: the path is missing", f"write {name}=/path")
            elif not _is(path.exists):
                self.wrong(f"{name}={value}: {path} does not exist", "paths are relative to where you stand")
            else:
                self.overrides[target] = str(path)

    def side(self, name: str, value: str) -> None:
        path = self.path(value)
        if path is None or not _is(path.is_dir):
            hint = "a revision is not built here: give the build trees of both, relative to where you stand"
            self.wrong(f"{name}={value}: there is no build tree at {path or 'no path'}", hint)
        else:
            self.compared[name] = str(path)

    def plain_name(self, value: str) -> str | None:
        if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,30}", value):
            return value
        self.wrong(f'take={value}: expected a name of lower-case letters, digits, "-" and "_"', "for example take=2")
        return None

    def reference(self, value: str) -> str | None:
        if REFERENCE.fullmatch(value):
            return value
        self.wrong(f"to={value}: expected a version, tag, branch or commit", "for example to=1.22.1")
        return None

    def directory(self, value: str) -> str | None:
        path = self.path(value)
        if path is None:
            self.wrong("store=: the path is missing", "write store=/path")
        elif not _is((there := _nearest(path)).is_dir):
            hint = "name a directory, or one that can be made"
            self.wrong(f"store={value}: {there} is not a directory", hint)
        else:
            return str(path)
        return None

    def path(self, value: str) -> Path | None:
        """Make a path absolute; None for nothing. Shells leave ~ alone after the =, so it is done here."""
        if not value.strip():
            return None
        try:
            return (self.cwd / Path(value).expanduser()).resolve()
        except (OSError, RuntimeError, ValueError):
            return self.cwd / value

    def names(self, name: str, value: str, what: str, valid: list[str]) -> tuple[str, ...] | None:
        chosen = list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
        if not chosen:
            self.wrong(
                f"{name}={value}: names no {what}", f"{name}={valid[0] if valid else 'NAME'}, or leave it out"
            )
        good = [part for part in chosen if self.known(name, part, what, valid)]
        return tuple(good) if good else None

    def known(self, name: str, part: str, what: str, valid: list[str], shown: str | None = None) -> bool:
        if part in valid:
            return True
        message = f'{name}={part if shown is None else shown}: no {what} is called "{part}"'
        self.wrong(f"{message}; expected {one_of(valid)}", did_you_mean(part, valid))
        return False

    def combine(self) -> None:
        """Refuse arms and cases that no experiment has together: nothing would be measured."""
        if self.errors or self.arms is None or self.cases is None:
            return
        arms, cases = set(self.arms), set(self.cases)
        if any(arms & {*experiment.arms} and cases & {*experiment.cases} for experiment in outlines(self.model)):
            return
        message = (
            f"arms={','.join(self.arms)} cases={','.join(self.cases)}: no experiment has these arms and cases"
        )
        self.wrong(message, "leave one of the two out")

    def wrong(self, message: str, hint: str | None) -> None:
        self.errors.append(BenchError(message, hint=hint))


def _is(question: Callable[[], bool]) -> bool:
    """Ask something about a path; where the system cannot answer, it is not."""
    try:
        return question()
    except (OSError, ValueError):
        return False


def _nearest(path: Path) -> Path:
    """Return the lowest part of ``path`` that is there; ``path`` itself where the system cannot tell."""
    for part in (path, *path.parents):
        try:
            if part.exists():
                return part
        except (OSError, ValueError):
            return path
    return path


def _arms(model: Model) -> list[str]:
    """Return the names of all arms, in the order of the specs."""
    return list(dict.fromkeys(arm for experiment in outlines(model) for arm in experiment.arms))


def _cases(model: Model) -> list[str]:
    return list(dict.fromkeys(case for experiment in outlines(model) for case in experiment.cases))


def _replaceable(model: Model) -> list[str]:
    """Return what a local directory can stand in for: sources, and builds of packages that are not built here."""
    return [*model.sources, *(f"{package.name}-build" for package in model.packages.values() if package.recipe == "prebuilt")]
