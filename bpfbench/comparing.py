"""The step behind ``compare_<package>``: two builds of one package, interleaved block by block, with a verdict on every case.

Both sides are arms of one experiment that differ in nothing but the package that they execute, so that everything that holds
for arms (random order within a block, proofs, the stop rule, verdicts by block) holds for versions too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bpfbench.building import PREBUILT, build_step, output_of
from bpfbench.errors import BenchError
from bpfbench.measuring import MeasureStep
from bpfbench.model.types import Arm

if TYPE_CHECKING:
    from bpfbench.context import Context
    from bpfbench.measure.request import Output
    from bpfbench.model.types import Experiment, Package, Runtime
    from bpfbench.progress import Progress

SIDES = ("a", "b")


def comparable(package: Package) -> bool:
    """Whether two builds of a package can be compared: its spec says by which experiment."""
    return package.recipe == PREBUILT and "compare" in package.options


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareStep(MeasureStep):
    """Measures one experiment on two builds, ``a`` and ``b``; ``b`` is the baseline."""

    title: str
    sides: Mapping[str, Context]
    """Side → the context in which the package is that side's build."""
    package: Package

    @property
    def name(self) -> str:
        """The task's name."""
        return self.title

    def run(self, progress: Progress) -> None:
        """Take in both builds (at once where the store has them), and measure."""
        for side in SIDES:
            build_step(self.sides[side], self.package).run(progress)
        # Zero arguments do not work for super() in a class with slots.
        MeasureStep.run(self, progress)


def compare_step(context: Context, package: Package) -> CompareStep:
    """Return the step that compares the builds named by the words ``a`` and ``b``. Raises ``BenchError`` without them."""
    name = f"compare_{package.name}"
    given = context.words.compared
    if set(given) != set(SIDES):
        missing = [f"{side}=" for side in SIDES if side not in given]
        words = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise BenchError(f"{name} compares two builds: {words}", hint=f"./bench {name} a=/build/one b=/build/other")
    sides = {side: _with_build(context, package, given[side]) for side in SIDES}
    experiment, runtimes = _experiment(context, package)
    model = replace(context.model, runtimes={**context.model.runtimes, **runtimes}, experiments={name: experiment})

    def output(wanted: str) -> Output | None:
        side = next((side for side in SIDES if wanted == _own(package, side)), None)
        return output_of(sides[side], package.name) if side else output_of(context, wanted)

    return CompareStep(replace(context, model=model), name, output, title=name, sides=sides, package=package)


def told(result: Mapping[str, Any], package: str) -> list[str]:
    """Return a comparison's result in lines, for people: what differs in the builds, then every case."""
    about = {side: result["inputs"].get(f"{package}-{side}", {}) for side in SIDES}
    lines = [f"{side}: {_told_build(about[side])}" for side in SIDES]
    if about["a"].get("hash") == about["b"].get("hash"):
        lines.append("a and b are the same, byte for byte: what differs is noise")
    cases = {case["name"]: case["title"] for case in result["cases"]}
    width = max(map(len, cases.values()), default=0)
    for row in result["comparisons"]:
        ratio, ends = row["ratio"], row["ratio_ci"]
        interval = "" if ratio is None or None in ends else f"a/b {ratio:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"
        difference = f"{row['difference']:+.1f}"
        lines.append(f"{cases[row['case']]:<{width}}  {interval:<26}  {difference:>10} {_unit(result)}  {_verdict(row)}")
    return lines


def _verdict(row: Mapping[str, Any]) -> str:
    return f"a is {row['verdict']}" if row["verdict"] in ("better", "worse") else str(row["verdict"])


def _unit(result: Mapping[str, Any]) -> str:
    return next(str(metric["unit"]) for metric in result["metrics"] if metric["primary"])


def _told_build(build: Mapping[str, Any]) -> str:
    about = build.get("about", {})
    checkout = about.get("checkout", {})
    parts = [f"commit {checkout['commit'][:12]}{' and changes' if checkout['changed'] else ''}"] if checkout.get("commit") else []
    parts += [f"{name}={value}" for name, value in about.get("options", {}).items()]
    return ", ".join(parts) or "nothing is known of it"


def _own(package: Package, side: str) -> str:
    return f"{package.name}-{side}"


def _with_build(context: Context, package: Package, build: str) -> Context:
    overrides = {**context.words.overrides, f"{package.name}-build": build}
    return replace(context, words=replace(context.words, overrides=overrides))


def _experiment(context: Context, package: Package) -> tuple[Experiment, dict[str, Runtime]]:
    """Return the experiment with two arms of the runtime that the package's spec names, and their runtimes."""
    plan, model = package.options["compare"], context.model
    for kind, known in (("experiment", model.experiments), ("runtime", model.runtimes)):
        if plan[kind] not in known:
            raise BenchError(f"{package.location}: options.compare.{kind}: there is no {kind} {plan[kind]!r}", hint="mend the spec")
    base, runtime = model.experiments[plan["experiment"]], model.runtimes[plan["runtime"]]
    runtimes = {_own(package, side): _runtime(runtime, package, side) for side in SIDES}
    wanted = {*plan["cases"]}
    if unknown := wanted - {case.name for case in base.cases}:
        message = f"{package.location}: options.compare.cases: {base.name} has no case {', '.join(sorted(unknown))}"
        raise BenchError(message, hint="mend the spec")
    arms = tuple(Arm(side, _own(package, side), f"{runtime.title}, {side}") for side in SIDES)
    experiment = replace(
        base, name=f"compare_{package.name}", title=f"Two builds of {package.name}", arms=arms, baseline=SIDES[1],
        cases=tuple(_cases(base, wanted)),
    )  # fmt: skip
    return experiment, runtimes


def _cases(base: Experiment, wanted: set[str]) -> Iterator[Any]:
    for case in base.cases:
        if case.name in wanted:
            yield case if case.floor in wanted else replace(case, floor=None)


def _runtime(runtime: Runtime, package: Package, side: str) -> Runtime:
    name = _own(package, side)

    def own(environment: Mapping[str, str]) -> dict[str, str]:
        return {key: value.replace(f"{{package:{package.name}}}", f"{{package:{name}}}") for key, value in environment.items()}

    packages = tuple(name if one == package.name else one for one in runtime.packages)
    return replace(
        runtime, name=name, title=f"{runtime.title}, {side}", packages=packages,
        loader_env=own(runtime.loader_env), target_env=own(runtime.target_env),
    )  # fmt: skip
