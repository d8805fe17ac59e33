"""DPDK's engines on the programs of the engines experiment, and on tables of small ones: what they take and survive is right."""

import json
import subprocess

import pytest

from .packages import model

# librte_bpf is built
pytestmark = [pytest.mark.system, pytest.mark.long]
ENGINES = model().experiments["engines"]
ARMS = [arm for arm in ENGINES.arms if arm.runtime.startswith("dpdk")]


def talk(command, words):
    """Return the answers (word, fields) of a process behind its READY, and how it ended."""
    done = subprocess.run([str(word) for word in command], input=words, capture_output=True, text=True, check=False, timeout=60)
    answers = [line.split(" ", 1) for line in done.stdout.splitlines()]
    return [(word, json.loads(fields)) for word, fields in answers[1:]], done.returncode


def command_of(arm, trees):
    words = arm.options["runner"]
    for name, tree in trees.items():
        words = [word.replace(f"{{package:{name}}}", str(tree)) for word in words]
    return words


@pytest.mark.parametrize("arm", ARMS, ids=lambda arm: arm.name)
def test_results_are_the_native_ones(arm, tree):
    trees = {name: tree(name) for name in ("engines", "engines-dpdk")}
    native = command_of(next(each for each in ENGINES.arms if each.name == ENGINES.baseline), trees)
    right = 0
    for case in ENGINES.cases:
        words = f"load {case.params['program']} {case.params['input']}\nrun 3 2 2\n"
        answers, end = talk(command_of(arm, trees), words)
        loaded = answers[0][1]
        if answers[0][0] == "UNSUPPORTED" or (end < 0 and "loops detected" in loaded["objection"]):
            continue  # it has no such instructions; or it did not survive a program that it had refused
        expected = talk(native, words)[0][1][1]
        assert (loaded["engine"], answers[1][1]["result"], answers[1][1]["memory"]) == (
            model().runtimes[arm.runtime].engine, expected["result"], expected["memory"],
        )  # fmt: skip
        right += 1
    assert right >= len(ENGINES.cases) - 3


@pytest.mark.parametrize("engine", ["dpdk-jit", "dpdk-interpreter"])
def test_by_its_own_rules_it_takes_no_loops_and_computes_the_rest(engine, tree):
    command = [tree("engines-dpdk") / "conform", "--engine", engine]
    loop = "run ||mov64 r0, 3; again: ; sub64 r0, 1; jne64 r0, 0, again; exit\n"
    memory = "run 16=0x29|16|lddw_value r1, 1, 16; ldxdw r2, [r1+0]; add64 r2, 1; stxdw [r1+0], r2; mov64 r0, r2; exit\n"
    lookup = "run ||stw [r10-4], 9; lddw_map r1, 0; mov64 r2, r10; add64 r2, -4; call 1; jeq64 r0, 0, +1; mov64 r0, 1; exit\n"
    answers, end = talk(command, loop + memory + lookup)
    assert end == 0
    assert answers == [
        ("REFUSED", {"message": "validate loops detected"}),
        ("RAN", {"result": "2a00000000000000", "data": ["2a00000000000000"]}),
        ("RAN", {"result": "00" * 8, "data": []}),
    ]
