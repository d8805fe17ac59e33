"""Published numbers are checked like all specs, and read by those who ask for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpfbench.layout import Layout
from bpfbench.model.load import load
from bpfbench.model.published import load_published

ROOT = Path(__file__).parents[2]
NAME = "specs/published/elsewhere.yaml"
TEXT = """\
published: elsewhere
title: Elsewhere
experiment: probe
source: "a report"
machine: "a machine"
date: "2025-04"
confidence: published
unit: ns
per: call
values:
  - {case: CASE, system: "one", value: 2.5, sd: 0.5, n: 10}
  - {what: another thing, system: "other", value: 7}
"""


@pytest.fixture
def elsewhere(tree):
    case = tree.load().experiments["probe"].cases[0].name
    tree.write(NAME, TEXT.replace("CASE", case))
    return tree, case


def test_numbers_come_with_all_that_was_told_of_them(elsewhere):
    tree, case = elsewhere
    tree.load()
    (found,) = load_published(tree.layout)
    assert (found.date, found.confidence, found.unit, found.per) == ("2025-04", "published", "ns", "call")
    one, other = found.values
    assert (one.case, one.value, one.sd, one.n) == (case, 2.5, 0.5, 10)
    assert (other.case, other.what, other.sd) == (None, "another thing", None)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("experiment: probe", "experiment: prob", 'no experiment is called "prob"'),
        ("{what: another thing, ", "{what: another thing, case: nothing, ", 'no case is called "nothing"'),
        ("{what: another thing, ", "{", "says what it is"),
        ("value: 7", 'value: "7"', "number"),
        ('"2025-04"', "2025", "quotes"),
        ("confidence: published", "confidence: certain", "second-hand"),
    ],
)
def test_what_is_wrong_is_told(elsewhere, before, after, words):
    tree, _ = elsewhere
    text = (tree.root / NAME).read_text()
    assert before in text
    tree.write(NAME, text.replace(before, after))
    assert words in "\n".join(str(problem) for problem in tree.problems())


def test_ours_are_valid_and_every_experiment_one_has_some():
    layout = Layout.of(ROOT)
    load(layout)
    found = load_published(layout)
    assert {one.experiment for one in found} >= {"uprobe", "embed", "syscall", "mpk", "engines", "load"}
    assert sum(len(one.values) for one in found) > 200
