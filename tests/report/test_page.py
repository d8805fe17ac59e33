"""The report: well-formed, self-contained, and saying nothing that is not in the data."""

from __future__ import annotations

import copy
import re
from html.parser import HTMLParser

import pytest

from bpfbench.report import facts
from bpfbench.report.page import Asset, report_html, report_markdown

VOID = {"meta", "link", "br", "img", "hr", "input"}
HOSTILE = "</style></title><script>alert('x')</script> a|b `c` \"quoted\" <img src=x onerror=y>"


class Outline(HTMLParser):
    """Checks that tags are balanced, and collects tags, ids, references and text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.ids, self.links, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value)
            if name in ("href", "src", "xlink:href", "action", "data"):
                self.links.append(value)
            assert not name.startswith("on"), (tag, name)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


def outline(html):
    parser = Outline()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def result(make):
    return make()


@pytest.fixture(scope="module")
def page(result):
    return report_html([result, make_other(result)])


def make_other(result):
    other = copy.deepcopy(result)
    other["experiment"], other["title"] = "other", "Another one"
    return other


def test_html_is_well_formed_and_needs_nothing_else(page):
    seen = outline(page)
    assert all(link.startswith("#") for link in seen.links)
    assert {link[1:] for link in seen.links} <= set(seen.ids)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page.split("</style>", 1)[0])
    assert "http" not in re.sub(r">[^<]*<", "><", page)
    assert not {"script", "link", "iframe", "object", "img"} & set(seen.tags)
    assert len(seen.ids) == len(set(seen.ids))


def test_every_url_reference_points_into_the_page(page):
    ids = set(outline(page).ids)
    referenced = set(re.findall(r"url\(#([^)]+)\)", page))
    assert referenced and referenced <= ids


def test_figures_follow_dark_and_light(page):
    assert "prefers-color-scheme: dark" in page
    assert "var(--ink)" in page and "var(--paper)" in page
    assert not re.search(r"(fill|stroke): (#1f2933|#ffffff)", page)


def test_html_tells_what_the_result_says(page, result):
    text = " ".join(" ".join(outline(page).text).split())
    for words in (
        result["run_key"],
        result["machine"]["fingerprint"],
        "quiet mitigations=auto",
        "SIGSEGV",
        "locked down",
        "sha256-47DEQpj8HBSa",
        "steal time of 1.2",
        "In 62.5 % of the rounds",
        "seed 20240611",
        "Another one",
        "taken up again 1 time",
        "./bench profile=quick run_invented",
    ):
        assert words in text, words


def test_same_data_same_bytes(result):
    assert report_html([result]) == report_html([copy.deepcopy(result)])
    assert report_markdown([result]) == report_markdown([copy.deepcopy(result)])


def hostile(result):
    bad = copy.deepcopy(result)
    bad["title"] = bad["description"] = bad["arms"][0]["title"] = bad["cases"][0]["title"] = HOSTILE
    bad["groups"][0]["title"] = HOSTILE
    bad["environment"] = {HOSTILE: {HOSTILE: HOSTILE}}
    bad["overrides"] = {"uprobe": HOSTILE}
    bad["noise"]["warnings"] = [HOSTILE]
    for cell in bad["cells"]:
        if cell["status"] != "ok":
            cell["reason"] = HOSTILE
    return bad


def test_hostile_strings_stay_text_in_html(result):
    page = report_html([hostile(result)])
    seen = outline(page)
    assert not {"script", "img"} & set(seen.tags)
    assert seen.tags.count("title") == 1 and seen.tags.count("style") <= 1 + page.count("<svg")
    assert page.count("&lt;script&gt;") > 5


def test_hostile_strings_stay_text_in_markdown(result):
    text = report_markdown([hostile(result)])
    prose = re.sub(r"```sh\n.*?\n```", "", text, flags=re.DOTALL)
    assert "<script" not in prose and "<img" not in prose and "a|b" not in prose
    assert "override.uprobe=" in text.split("```sh")[1]


def test_no_results():
    assert "No result yet" in outline_text(report_html([])) and "No result yet" in report_markdown([])


def outline_text(html):
    return " ".join(outline(html).text)


def test_one_arm_and_nothing_measured(make):
    alone = make(("native",), broken=False)
    assert outline(report_html([alone])).tags.count("svg") == 1
    assert "What the comparisons say" not in report_markdown([alone])
    for cell in alone["cells"]:
        cell.update(status="unsupported", reason="no compiler", metrics={})
    alone["arms"][0].update(status="unsupported", reason="no compiler")
    html, text = report_html([alone]), report_markdown([alone])
    assert "26 unsupported of 26 cases" in " ".join(outline_text(html).split())
    assert "all cases: no compiler" in text
    assert " ± 0" not in text


def test_markdown_links_figures_where_they_are(result):
    assert "](<figures/invented.svg>)" in report_markdown([result])
    given = {"invented": [Asset("elsewhere/x.png", "what it shows")]}
    assert "![what it shows](<elsewhere/x.png>)" in report_markdown([result], given)
    assert "![" not in report_markdown([result], {})


def test_warnings_stand_at_the_top(make):
    result = make()
    result["partial"] = {"arms": ["native"], "cases": None}
    result["overrides"] = {"uprobe": "/somewhere"}
    text = report_markdown([result])
    head = text[: text.index("### Arms")]
    for words in ("Something failed", "Only a selection", "local stand-ins for uprobe", "noisy"):
        assert words in head
    quiet = make(broken=False)
    quiet["noise"]["verdict"] = "quiet"
    assert "**" not in report_markdown([quiet]).split("### Arms")[0]


def test_unverified_programs_are_told_at_the_top_and_with_their_arm(make):
    result = make(broken=False)
    cell = next(cell for cell in result["cells"] if (cell["case"], cell["arm"]) == ("uprobe", "embedded"))
    cell["evidence"] |= {"verification": ["unverified"], "unverified_because": ["bpf(2): Operation not permitted"]}
    text, page = report_markdown([result]), report_html([result])
    assert "no verifier has accepted, on embedded." in text[: text.index("### Arms")]
    assert "programs ran unverified: bpf(2): Operation not permitted" in text.replace("\\", "")
    assert "no verifier has accepted, on embedded." in page and "programs ran unverified: bpf(2)" in page
    assert "verifier" not in report_markdown([make(broken=False)])


def test_what_a_driver_says_of_a_case_is_told_once_and_its_doubts_at_the_top(make):
    result = make(broken=False)
    for cell in result["cells"]:
        if cell["case"] == "uprobe":
            cell["evidence"] |= {"remark": "done on paper", "doubt": f"paper tears, says {cell['arm']}"}
    text, page = report_markdown([result]), report_html([result])
    assert text[: text.index("### Arms")].count("to be doubted") == 1
    assert text.count("done on paper") == page.count("done on paper") == 1
    assert "doubted" not in report_markdown([make(broken=False)])


def test_verdicts_are_counted_and_not_canned(result):
    turned = copy.deepcopy(result)
    for item in turned["comparisons"]:
        item["verdict"] = "inconclusive"
    counts = {}
    for item in result["comparisons"]:
        key = (item["arm"], item["against"], item["verdict"])
        counts[key] = counts.get(key, 0) + 1
    (said,) = [line for line in facts.verdicts(result) if line.startswith("embedded against kernel eBPF")]
    for verdict in ("better", "worse"):
        assert f"{verdict} in {counts['embedded', 'kernel', verdict]}" in said
    assert "2 cases could not be compared" in said
    assert all("better" not in line and "worse" not in line for line in facts.verdicts(turned))
    turned["comparisons"] = []
    assert facts.verdicts(turned) == []


def test_sampling_counts_why_it_stopped(make):
    result = make(("native", "kernel"), broken=False)
    for index, cell in enumerate(result["cells"]):
        cell.update(stopped="budget" if index < 3 else "width", half_width=0.08 if index < 3 else 0.01)
    result["cells"][1]["half_width"] = 0.25
    text = " ".join(facts.sampling(result))
    assert "49 stopped with an interval" in text and "3 stopped by the budget of 4 min" in text
    assert re.search(r"3 intervals are wider than wanted, the widest ± 25.% \(empty on kernel eBPF\)", text)


def test_the_command_repeats_selection_and_stand_ins(make):
    result = make()
    result["partial"] = {"arms": ["native", "kernel"], "cases": None}
    result["overrides"] = {"uprobe": "/some where"}
    command = "./bench profile=quick arms=native,kernel 'override.uprobe=/some where' run_invented"
    assert facts.command(result) == command
