"""What a driver reads is checked by the driver's own schema, before anything runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bpfbench.layout import Layout
from bpfbench.model.load import load

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {"rounds": {"$ref": "#/$defs/many"}},
    "$defs": {
        "many": {"type": "integer", "minimum": 1, "x-expected": "how many rounds"},
        "case": {
            "type": "object",
            "required": ["call"],
            "additionalProperties": False,
            "properties": {"call": {"enum": ["read", "write"], "x-expected": "a call"}, "size": {"$ref": "#/$defs/many"}, "nested": {}},
        },
    },
}
NAME = "specs/experiments/probe.yaml"


@pytest.fixture
def strict(tree):
    tree.write("schemas/driver_probe_pair.json", json.dumps(SCHEMA))
    tree.load()
    return tree


def test_a_misspelt_field_of_a_case_is_located_and_the_right_one_named(strict):
    line = strict.change(NAME, "params: {call: read, size: 8", "params: {call: read, sise: 8")
    problem = strict.problem()
    assert problem.location.line == line
    assert problem.field.endswith("params.sise")
    assert "size" in problem.hint


def test_a_wrong_value_of_a_case_is_located(strict):
    line = strict.change(NAME, "params: {call: read, size: 8", "params: {call: reed, size: 8")
    problem = strict.problem()
    assert (problem.location.line, problem.field.endswith("params.call")) == (line, True)


def test_a_missing_field_of_a_case_is_told(strict):
    strict.change(NAME, "params: {call: read, size: 8", "params: {size: 8")
    assert strict.problem().field.endswith("params.call")


def test_the_experiments_own_params_are_checked(strict):
    line = strict.change(NAME, "rounds: 10", "rounds: ten")
    assert strict.problem().location.line == line


def test_a_broken_driver_schema_is_named(strict):
    strict.write("schemas/driver_probe_pair.json", "{")
    assert strict.problem().location.file == "schemas/driver_probe_pair.json"


def test_our_own_drivers_schemas_fit_our_own_experiments(tmp_path):
    root = Path(__file__).parents[2]
    for name in ("specs", "schemas", "workloads", "bpfbench", "embedded"):
        if (root / name).exists():
            shutil.copytree(root / name, tmp_path / name)
    assert load(Layout.of(tmp_path)).experiments
