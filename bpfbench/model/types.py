"""What the specs say, as frozen dataclasses. Made only by ``bpfbench.model``; everybody else just reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Direction = Literal["lower", "higher"]
Where = Literal["none", "kernel", "userspace"]
"""Where a runtime executes programs; ``none`` means that nothing is instrumented."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where something was written: ``file`` relative to the checkout, ``line`` and ``column`` from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Origin:
    """One place a source can come from. ``method`` names a module of ``bpfbench.fetch``.

    In a spec, ``{reference}`` in a field stands for the source's reference; see ``at``. In the lock, fields are complete, and
    have what pins the origin: ``sha256`` of its file, or ``commit``.
    """

    method: Literal["git", "archive", "debian", "pypi"]
    fields: Mapping[str, Any]

    def at(self, reference: str) -> Mapping[str, Any]:
        """Return the fields for a reference."""
        return {
            name: value.replace("{reference}", reference) if isinstance(value, str) else value
            for name, value in self.fields.items()
        }


@dataclass(frozen=True, slots=True)
class Submodule:
    """A git submodule of a locked source, at ``path`` below its tree."""

    path: str
    url: str
    commit: str
    hash: str
    """NAR SHA-256 of its tree, submodules of its own included."""


@dataclass(frozen=True, slots=True)
class Locked:
    """What a source's reference was found to mean: written by ``doit lock`` alone, into vendor/sources.lock.json."""

    reference: str
    """What the spec asked for then. While it asks for something else, the source counts as not locked."""
    revision: str
    """The commit, or the version."""
    hash: str
    """NAR SHA-256 of the tree in SRI form: ``sha256-<base64>``. Whatever has it is the source, wherever it comes from."""
    pins: tuple[Origin, ...]
    """The spec's origins that could be had when the source was locked."""
    submodules: tuple[Submodule, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A third-party tree: what people want (the spec) and what exactly that is (the lock)."""

    name: str
    title: str
    reference: str
    """A version, tag, branch or commit."""
    origins: tuple[Origin, ...]
    """In the order in which they are tried; any of them will do that has the locked tree."""
    location: Location
    locked: Locked | None = None


@dataclass(frozen=True, slots=True)
class Artefact:
    """One file that a package's recipe makes, at ``output`` below the package's tree."""

    output: str
    kind: Literal["bpf-object", "executable", "shared-library", "clang-library", "wasm-module", "script"]
    sources: tuple[str, ...]
    """Repository-relative source files."""
    includes: tuple[str, ...] = ()
    """Repository-relative include directories."""
    flags: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    """Linked with -l, in this order."""
    config: str | None = None
    """A program such as llvm-config, which tells more flags: of ``--cppflags``, and of ``--ldflags --libs``."""


@dataclass(frozen=True, slots=True)
class Package:
    """Something that is built. ``recipe`` names a module of ``bpfbench.build``."""

    name: str
    title: str
    recipe: str
    location: Location
    inputs: tuple[str, ...] = ()
    """Repository-relative files and directories whose content the build reads."""
    sources: tuple[str, ...] = ()
    """Names of ``Source`` specs."""
    depends: tuple[str, ...] = ()
    """Names of other packages whose output trees the build reads."""
    needs: tuple[str, ...] = ()
    """Names of system requirements."""
    options: Mapping[str, Any] = field(default_factory=dict)
    artefacts: tuple[Artefact, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """Where a runtime writes its log, and what the lines in it mean. Patterns are regular expressions, looked for in each line."""

    loader: tuple[str, ...]
    """The loader's files; places as in the environments. What it prints is in ``{work}/loader.out`` and ``.err``."""
    target: tuple[str, ...]
    """The target's files, others than the loader's. What it prints is in ``{work}/victim.out`` and ``.err``."""
    failed: str
    """A line of any file in which this is found fails the sample: runtimes go on, bare, after most errors."""
    ready: str
    """Found in the target's files once its programs are attached."""
    engine: str
    """Found in the files of both; its first group is the engine that programs are run by."""
    unable: str | None = None
    """A line of any file in which this is found says that the engine cannot run the program: the case is *unsupported*."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A way to execute BPF programs: all that differs between arms, as data.

    Values of ``loader_env`` and ``target_env`` may use ``{package:NAME}`` (output tree of a package), ``{segment}`` (this
    sample's private shared-memory name) and ``{work}`` (this sample's private directory).
    """

    name: str
    title: str
    where: Where
    colour: str
    """``#rrggbb``, the same for this runtime in every figure."""
    location: Location
    requires: tuple[str, ...] = ()
    """Names of prerequisites that are looked at on this machine before measuring (``bpfbench.measure.prerequisites``)."""
    packages: tuple[str, ...] = ()
    attaches: tuple[str, ...] = ()
    """Kinds of attachment that it offers: uprobe, uretprobe, tracepoint, …"""
    loader_env: Mapping[str, str] = field(default_factory=dict)
    target_env: Mapping[str, str] = field(default_factory=dict)
    engine: str | None = None
    """The engine that every program must be proved to run on, e.g. ``kernel-jit``."""
    backend: str | None = None
    """The mechanism that diverts control, e.g. ``kernel-uprobe``."""
    status: str | None = None
    """File in which the target's side says what it did, by which engine and backend are proved; places as in the environments."""
    log: Log | None = None
    """In place of ``status``, for a runtime that says in a log what it did."""
    deviates: Mapping[str, str] = field(default_factory=dict)
    """Case → how this runtime's operation ends otherwise than the kernel's. It is measured all the same; where no operation then
    has the expected outcome, the case is *unsupported*, and not *failed*."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A typed quantity: what a sample reports under ``name``."""

    name: str
    title: str
    unit: str
    per: str | None
    direction: Direction
    primary: bool = False
    """The primary metric steers the stop rule and stands in tables and figures; there is exactly one."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to do all cases of an experiment, mostly the name of a runtime."""

    name: str
    runtime: str
    title: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that belong together in tables and figures."""

    name: str
    title: str


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that is measured on every arm."""

    name: str
    title: str
    group: str
    divisor: int = 1
    """How many inner operations one call makes."""
    floor: str | None = None
    """The case whose cost is taken off before dividing: (case − floor) / divisor is the cost of one operation."""
    attaches: tuple[str, ...] = ()
    """Kinds of attachment that an instrumented arm must offer."""
    labels: tuple[str, ...] = ()
    """Short remarks shown wherever the case is shown, e.g. ``refused delete``."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """For the driver alone."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """A measured experiment. ``driver`` names a module of ``bpfbench.drivers``."""

    name: str
    title: str
    description: str
    driver: str
    baseline: str
    packages: tuple[str, ...]
    arms: tuple[Arm, ...]
    groups: tuple[Group, ...]
    cases: tuple[Case, ...]
    metrics: tuple[Metric, ...]
    location: Location
    needs: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    """For the driver alone."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How much is measured. Durations in seconds."""

    name: str
    title: str
    least_blocks: int
    most_blocks: int
    warmup_blocks: int
    half_width: float
    """Sampling of a case stops when every arm's relative 95 % half-width is at most this."""
    equivalence: float
    """Ratios within 1 ± this count as ``same``."""
    budget: float
    """Seconds of sampling that one experiment may take."""
    sample_time: float
    """Seconds that the timed part of one sample aims at."""
    figure_formats: tuple[str, ...]
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Experiment → parameters for its driver, over those of the experiment."""
    budgets: Mapping[str, float] = field(default_factory=dict)
    """Experiment → its budget in place of ``budget``."""
    cases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Experiment → the cases that this profile measures; all of them where it names none."""
    arms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Experiment → the arms that this profile measures, the baseline among them; all of them where it names none."""

    def budget_of(self, experiment: str) -> float:
        """Return the seconds of sampling that an experiment may take."""
        return self.budgets.get(experiment, self.budget)


@dataclass(frozen=True, slots=True)
class Requirement:
    """Something the operating system must provide, and the OS packages that bring it.

    Exactly one of ``command`` (found on PATH), ``header`` (found by the C compiler) or ``file`` is set.
    """

    name: str
    why: str
    packages: Mapping[str, tuple[str, ...]]
    """OS family (``debian``) → package names."""
    command: str | None = None
    header: str | None = None
    file: str | None = None
    optional: bool = False
    """Whether what needs it is unsupported without it, and no error."""


@dataclass(frozen=True, slots=True)
class PublishedValue:
    """One number that somebody published. ``sd`` and ``n`` are None where they were not told."""

    system: str
    """What was measured, in the publication's words."""
    value: float
    case: str | None = None
    """The experiment's case that is the same thing; None: there is none."""
    what: str | None = None
    """What it is, where no case is the same."""
    runtime: str | None = None
    """Our runtime that is the same system."""
    sd: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """Numbers from one publication: shown beside ours as a reference, never mixed with them."""

    name: str
    title: str
    experiment: str
    source: str
    address: str | None
    machine: str
    date: str
    """As exactly as it is known: 2025-04-30, 2025-04 or 2025."""
    confidence: str
    """``published`` (as it stands there), ``corrected`` or ``derived`` (by the remark), ``second-hand``."""
    unit: str
    per: str | None
    values: tuple[PublishedValue, ...]
    location: Location
    remark: str | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """The checked ``name=value`` words of the command line."""

    profile: str
    arms: tuple[str, ...] | None = None
    """None: all."""
    cases: tuple[str, ...] | None = None
    budget: float | None = None
    """Seconds; None: the profile's."""
    store: str | None = None
    """Absolute path; None: the checkout's own."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Source or package name → absolute path of a local stand-in."""
    take: str | None = None
    """Names another measurement of the same thing, kept beside the first; None: the first."""
    to: str | None = None
    """For ``lock``: the reference that a source is to have from now on."""
    compared: Mapping[str, str] = field(default_factory=dict)
    """For ``compare_…``: side (``a``, ``b``) → absolute path of its build tree."""
    accept_noise: bool = False
    """Whether to measure on a machine that is too busy, and say so in the result, instead of refusing."""


@dataclass(frozen=True, slots=True)
class Model:
    """Everything that the specs say, validated as a whole."""

    sources: Mapping[str, Source]
    packages: Mapping[str, Package]
    runtimes: Mapping[str, Runtime]
    experiments: Mapping[str, Experiment]
    profiles: Mapping[str, Profile]
    default_profile: str
    requirements: Mapping[str, Requirement]
    digest: str
    """SHA-256 over all specs and schemas."""
