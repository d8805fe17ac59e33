from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpfbench.model.meaning import circles

PROBE = "specs/experiments/probe.yaml"
PACKAGE = "specs/packages/probe.yaml"
SHIM = "specs/packages/shim.yaml"
RUNTIME = "specs/runtimes/shim.yaml"
SOURCE = "specs/sources/libshim.yaml"
PROFILES = "specs/profiles.yaml"
SYSTEM = "specs/system.yaml"

WRONG = [
    # file, what stands there, what is written instead, field, part of the message, part of the hint
    (RUNTIME, "failed: '\\[error\\]'", "failed: '[error'", "log.failed", "no regular expression", ""),
    (RUNTIME, "(\\S+)", "\\S+", "log.engine", "no group", ""),
    (RUNTIME, "target/shim.log", "loader/shim.log", "log.target[0]", "the loader's log", ""),
    (PROBE, "experiment: probe", "experiment: prove", "experiment", "not the name of its file", '"probe"'),
    (PROBE, "driver: probe_pair", "driver: probe_pear", "driver", "no driver is called", '"probe_pair"'),
    (PROBE, "packages: [probe]", "packages: [prob]", "packages[0]", "no package is called", '"probe"'),
    (PROBE, "needs: [libbpf]", "needs: [libbfp]", "needs[0]", "no system requirement", '"libbpf"'),
    (PROBE, "baseline: native", "baseline: nativ", "baseline", "no arm is called", '"native"'),
    (PROBE, "  - shim\n", "  - shimm\n", "arms[1]", "no runtime is called", '"shim"'),
    (PROBE, "  - shim\n", "  - native\n", "arms[1]", "two arms are called", "experiments/probe.yaml:9:5"),
    (PROBE, "arm: shim-slow", "arm: shim", "arms[2].arm", "two arms are called", "probe.yaml:10:5"),
    (
        PROBE,
        "metric: size",
        "metric: time",
        "metrics[1].metric",
        "two metrics are called",
        "probe.yaml:16:13",
    ),
    (
        PROBE,
        "group: memory\n    title",
        "group: hooks\n    title",
        "groups[1].group",
        "two groups",
        "the first",
    ),
    (PROBE, "case: read", "case: empty", "cases[1].case", "two cases are called", "the first"),
    (PROBE, "primary: true", "primary: false", "metrics", "no metric is primary", "primary: true"),
    (
        PROBE,
        "unit: KiB",
        "primary: true\n    unit: KiB",
        "metrics[1].primary",
        "a second primary",
        "the first",
    ),
    (
        PROBE,
        "group: hooks\n    attaches",
        "group: hook\n    attaches",
        "cases[0].group",
        "no group",
        '"hooks"',
    ),
    (PROBE, "floor: empty", "floor: emty", "cases[1].floor", "no case is called", '"empty"'),
    (PROBE, "floor: empty", "floor: read", "cases[1].floor", "its own floor", None),
    (PROBE, "    title: an empty", "    floor: read\n    title: an empty", "cases[0].floor", "circle", None),
    (
        PROBE,
        "params:\n  r",
        "  - {case: x, title: x, group: hooks, floor: read}\nparams:\n  r",
        "cases[2].floor",
        "chain",
        None,
    ),
    (
        PROBE,
        "[uprobe]\n    labels",
        "[upprobe]\n    labels",
        "cases[1].attaches[0]",
        "no runtime attaches",
        '"uprobe"',
    ),
    (PROBE, "unit: ns", "unit: nsec", "metrics[0].unit", 'found the text "nsec"', '"ns"'),
    (PACKAGE, "recipe: local", "recipe: locale", "recipe", "there is no bpfbench/build/locale.py", '"local"'),
    (PACKAGE, "depends: [shim]", "depends: [shin]", "depends[0]", "no package is called", '"shim"'),
    (PACKAGE, "depends: [shim]", "depends: [probe]", "depends[0]", "circle: probe → probe", None),
    (PACKAGE, "[clang, libbpf]", "[clang, clang]", "needs[1]", "given twice", "the first is at"),
    (
        PACKAGE,
        "output: bin/loader",
        "output: program.bpf.o",
        "artefacts[1].output",
        "two artefacts",
        "the first",
    ),
    (PACKAGE, "output: program.bpf.o", "output: bin", "artefacts[0].output", "cannot be a file and", None),
    (PACKAGE, "output: bin/loader", "output: ../loader", "artefacts[1].output", "has a .. in it", None),
    (PACKAGE, "output: bin/loader", "output: /bin/loader", "artefacts[1].output", "absolute path", None),
    (
        PACKAGE,
        "  - workloads/common\n",
        "  - workloads/comon\n",
        "inputs[1]",
        "does not exist",
        "workloads/common",
    ),
    (PACKAGE, "  - workloads/common\n", "  - ../elsewhere\n", "inputs[1]", "has a .. in it", None),
    (PACKAGE, "  - workloads/common\n", "  - workloads/../..\n", "inputs[1]", "has a .. in it", None),
    (PACKAGE, "  - workloads/common\n", "  - /etc\n", "inputs[1]", "is an absolute path", None),
    (PACKAGE, "  - workloads/common\n", "  - ~/tree\n", "inputs[1]", "starts with ~", "home directory"),
    (
        PACKAGE,
        "  - workloads/common\n",
        "  - ./workloads//common/\n",
        "inputs[1]",
        "shortest form",
        '"workloads/common"',
    ),
    (PACKAGE, "  - workloads/common\n", '  - "workloads\\n"\n', "inputs[1]", "control characters", None),
    (
        PACKAGE,
        "  - workloads/common\n",
        "  - bpfbench/build/local.py/x\n",
        "inputs[1]",
        "does not exist",
        None,
    ),
    (PACKAGE, "probe/loader.c", "probe", "artefacts[1].sources[0]", "is a directory", None),
    (
        PACKAGE,
        "includes: [workloads/common]",
        "includes: [workloads/probe/loader.c]",
        "artefacts[0].includes[0]",
        "is a file",
        None,
    ),
    (SHIM, "sources: [libshim]", "sources: [libshin]", "sources[0]", "no source is called", '"libshim"'),
    (RUNTIME, '"{segment}"', '"{segmnt}"', "loader.env.SHIM_SEGMENT", "stands for nothing", '"segment"'),
    (
        RUNTIME,
        "{package:shim}/lib/agent",
        "{package:shin}/lib/agent",
        "target.env.LD_PRELOAD",
        "not in this runtime's packages",
        '"shim"',
    ),
    (RUNTIME, "packages: [shim]", "packages: [shum]", "packages[0]", "no package is called", '"shim"'),
    (RUNTIME, 'colour: "#1f77b4"', "colour: #1f77b4", "colour", "found nothing", "quotes"),
    (SOURCE, "ref: v{reference}", "ref: v{refrence}", "origins[0].ref", "{refrence} stands for nothing", '"reference"'),
    (SOURCE, "ref: v{reference}", "ref: --upload-pack=x", "origins[0].ref", "found", None),
    (SOURCE, 'reference: "1.10"', "reference: 1.10", "reference", "the number 1.1", None),
    (SOURCE, 'reference: "1.10"', "reference: -x", "reference", "found", None),
    (SOURCE, "https://git.example/libshim", "git://git.example/libshim", "origins[0].url", "found", None),
    (SOURCE, "method: debian", "method: debain", "origins[2].method", "found", '"debian"'),
    (SOURCE, "    strip: 1\n", "    stripe: 1\n", "origins[1].stripe", "unknown field", '"strip"'),
    (SOURCE, "    strip: 1\n", "    strip: 1.0\n", "origins[1].strip", "the number 1.0", None),
    (
        SOURCE,
        '    version: "{reference}"\n',
        "    version: 1.10\n",
        "origins[3].version",
        "the number 1.1",
        "quotes",
    ),
    (SOURCE, "libshim_{reference}.orig.tar.gz", "../libshim.tar.gz", "origins[2].file", "found", None),
    (PROFILES, "default: quick", "default: quik", "default", "no profile is called", '"quick"'),
    (PROFILES, "most: 40", "most: 8", "profiles.quick.blocks.most", "less than", None),
    (PROFILES, "least: 9", "least: 6", "profiles.quick.blocks.least", "the number 6", None),
    (
        PROFILES,
        "probe: {rounds: 5}",
        "prob: {rounds: 5}",
        "profiles.quick.experiments.prob",
        "no experiment",
        '"probe"',
    ),
    (
        PROFILES,
        "probe: {rounds: 5}",
        "probe: {cases: [empty, raed]}",
        "profiles.quick.experiments.probe.cases[1]",
        "no case is called",
        '"read"',
    ),
    (
        PROFILES,
        "probe: {rounds: 5}",
        "probe: {arms: [native, shimm]}",
        "profiles.quick.experiments.probe.arms[1]",
        "no arm is called",
        '"shim"',
    ),
    (
        PROFILES,
        "probe: {rounds: 5}",
        "probe: {arms: [shim]}",
        "profiles.quick.experiments.probe.arms",
        "native is missing, the baseline",
        None,
    ),
    (PROFILES, "sample_time: 40ms", "sample_time: 4m", "profiles.quick.sample_time", "does not fit", None),
    (
        PROFILES,
        "half_width: 3%",
        "half_width: 0.03",
        "profiles.quick.half_width",
        "the number 0.03",
        "percent",
    ),
    (PROFILES, "half_width: 3%", "half_width: 0%", "profiles.quick.half_width", "0%", None),
    (PROFILES, "budget: 4m", "budget: 0s", "profiles.quick.budget", "0s", None),
    (PROFILES, "budget: 4m", "budget: 4 min", "profiles.quick.budget", "4 min", "unit"),
    (PROFILES, "  paper:", "  Paper:", "profiles.Paper", "not a valid name", None),
    (PROFILES, "figures: [pdf]", "figures: [pfd]", "profiles.paper.figures[0]", "pfd", '"pdf"'),
    (
        SYSTEM,
        "    command: clang\n",
        "    command: clang\n    header: a.h\n",
        "requirements.clang",
        "has command and header at once",
        None,
    ),
    (SYSTEM, "    command: clang\n", "", "requirements.clang", "has none of command, header and file", None),
    (SYSTEM, "header: bpf/libbpf.h", "header: ../libbpf.h", "requirements.libbpf.header", "found", None),
]


@pytest.mark.parametrize(("file", "old", "new", "field", "message", "hint"), WRONG)
def test_what_is_wrong_is_told_where_it_is(tree, file, old, new, field, message, hint):
    tree.change(file, old, new)
    # A changed name may leave another place without what it refers to: at most one such follows.
    problems = {(problem.location.file, problem.field): problem for problem in tree.problems()}
    assert len(problems) <= 2
    problem = problems[file, field]
    assert message in problem.message
    assert hint in (problem.hint or "") if hint else True
    assert problem.expected


def test_a_link_out_of_the_checkout_is_refused(tree, tmp_path):
    (tmp_path / "outside").mkdir()
    (tree.root / "workloads/out").symlink_to(tmp_path / "outside")
    tree.change(PACKAGE, "  - workloads/common\n", "  - workloads/out\n")
    assert "link out of the checkout" in tree.problem().message


def test_a_link_within_the_checkout_is_fine(tree):
    (tree.root / "workloads/again").symlink_to("common")
    tree.change(PACKAGE, "  - workloads/common\n", "  - workloads/again\n")
    assert "workloads/again" in tree.load().packages["probe"].inputs


def test_a_link_to_itself_is_refused(tree):
    (tree.root / "workloads/loop").symlink_to("loop")
    tree.change(PACKAGE, "  - workloads/common\n", "  - workloads/loop\n")
    assert tree.problem().field == "inputs[1]"


def test_packages_in_a_circle_are_told_once(tree):
    line = tree.change(SHIM, "needs: [clang]", "depends: [probe]")
    problem = tree.problem()
    assert "probe → shim → probe" in problem.message
    assert (problem.location.file, problem.field) == (PACKAGE, "depends[0]")
    assert line > 0


def test_names_that_differ_in_dashes_alone_are_refused(tree):
    for name in ("a-b", "a_b"):
        tree.write(f"specs/packages/{name}.yaml", f"package: {name}\ntitle: x\nrecipe: local\n")
    assert "build_a_b and build_a-b" in tree.problem().message


def test_a_misspelt_required_field_is_told_once(tree):
    tree.change(PROBE, "description: What", "descripton: What")
    problem = tree.problem()
    assert problem.message == "unknown field"
    assert problem.hint == 'did you mean "description"?'


def _reaches(edges: dict[str, list[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(edges.get(start, ()))
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += edges.get(name, ())
    return seen


GRAPHS = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg"), max_size=4))


@given(GRAPHS)
def test_circles_are_found_exactly_where_there_are_some(edges):
    found = circles(edges)
    assert bool(found) == any(name in _reaches(edges, name) for name in edges)
    for circle in found:
        assert circle[0] == min(circle)
        assert all(
            after in edges[before] for before, after in zip(circle, (*circle[1:], circle[0]), strict=True)
        )


def test_a_chain_longer_than_the_stack_is_fine():
    edges = {f"n{i:05}": [f"n{i + 1:05}"] for i in range(5000)}
    assert circles(edges) == []
    assert len(circles({**edges, "n05000": ["n00000"]})[0]) == 5001
