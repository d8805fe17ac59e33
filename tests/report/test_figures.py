"""Figures: the same bytes from the same data, and words where there is no number."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import matplotlib
import pytest

from bpfbench.report.figures import draw, drawings

DRAW = """
import hashlib, json, sys
from bpfbench.report.figures import draw
files = draw(json.load(open(sys.argv[1])), ["svg", "png", "pdf"])
print(json.dumps({name: hashlib.sha256(content).hexdigest() for name, content in files.items()}))
"""


@pytest.fixture(scope="module")
def result(make):
    return make()


def test_same_data_same_bytes_in_other_processes(result, tmp_path):
    (tmp_path / "result.json").write_text(json.dumps(result))
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsvg.fonttype: none\nlines.linewidth: 9\n")
    seen = []
    for seed, directory in (("1", tmp_path / "nothing"), ("2", tmp_path)):
        env = {
            **os.environ,
            "PYTHONHASHSEED": seed,
            "MATPLOTLIBRC": str(directory),
            "MPLCONFIGDIR": str(tmp_path),
        }
        command = [sys.executable, "-c", DRAW, str(tmp_path / "result.json")]
        seen.append(
            json.loads(subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout)
        )
    here = {
        name: hashlib.sha256(content).hexdigest()
        for name, content in draw(result, ["svg", "png", "pdf"]).items()
    }
    assert seen[0] == seen[1] == here
    assert set(here) == {"invented.svg", "invented.png", "invented.pdf"}


def test_other_data_other_bytes(make, result):
    assert draw(make(seed=2), ["svg"]) != draw(result, ["svg"])


def test_drawing_leaves_settings_alone(result):
    before = dict(matplotlib.rcParams)
    draw(result, ["png"])
    assert dict(matplotlib.rcParams) == before


def test_svg_is_well_formed_without_dates_or_versions(result):
    text = draw(result, ["svg"])["invented.svg"].decode()
    ET.fromstring(text)
    assert matplotlib.__version__ not in text and "<metadata" not in text
    assert not re.search(r"\d{4}-\d{2}-\d{2}", text)


def words_in(svg):
    """Return what is written in a figure: matplotlib leaves each text in a comment beside its outline."""
    return [text.strip() for text in re.findall(r"<!--(.*?)-->", svg, flags=re.DOTALL)]


def test_every_case_is_there_once_and_what_failed_is_a_word(result):
    words = words_in(draw(result, ["svg"])["invented.svg"].decode())
    for case in result["cases"]:
        assert words.count(case["title"]) == 1, case["title"]
    assert words.count("unsupported") == 1 and words.count("failed") == 1
    for group in result["groups"]:
        assert group["title"] in words
    assert words.count("refused delete") == 2
    numbers = [word for word in words if word.replace("\u202f", "").replace(".", "").isdigit()]
    ok_calls, operations = 30, len(result["operations"])
    ticks = {"0.1", "1", "10", "100", "1\u202f000"}
    named = 5  # "native  1.53": the first line of each column names its arms
    assert len([n for n in numbers if n not in ticks]) == ok_calls + operations - named


def test_an_arm_that_is_wholly_unsupported_is_drawn_as_words(make):
    result = make(("native", "kernel"), broken=False)
    for cell in result["cells"]:
        if cell["arm"] == "kernel":
            cell.update(status="unsupported", reason="no BPF here", metrics={}, proof=None)
    result["comparisons"] = result["operations"] = []
    words = words_in(draw(result, ["svg"])["invented.svg"].decode())
    assert sum("unsupported" in word for word in words) == 26


def test_operations_at_or_below_zero_do_not_break_the_logarithm(make):
    result = make()
    result["operations"][0].update(value=-0.5, ci=[-1.0, 0.2])
    result["operations"][1].update(value=0.0, ci=[-1.0, 0.2])
    words = words_in(draw(result, ["svg"])["invented.svg"].decode())
    assert any("\u22120.5" in word for word in words)


@pytest.mark.parametrize("broken", [True, False])
def test_one_arm(make, broken):
    (drawing,) = drawings(make(("native",), broken=broken), ["png"])
    assert drawing.files["png"].startswith(b"\x89PNG")
    assert "native" in drawing.alt


def test_hostile_titles_are_drawn_as_they_are(make):
    result = make(("native", "kernel"))
    result["cases"][0]["title"] = "$\\frac{x}{ <script>alert(1)</script> --> ]]> &"
    result["arms"][1]["title"] = "$kernel$ \x1b[31m"
    text = draw(result, ["svg"])["invented.svg"].decode()
    ET.fromstring(text)
    assert "<script" not in text.replace("<!--", "").split("<svg")[0]


def test_without_formats_nothing_is_drawn(result):
    (drawing,) = drawings(result, [])
    assert drawing.files == {} and "60 values" in drawing.alt and "1 marked failed" in drawing.alt
