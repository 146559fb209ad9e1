"""What a report says, in each of its forms."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from guardproxy.offline.evaluate.as_html import page_of
from guardproxy.offline.evaluate.as_json import tree_of
from guardproxy.offline.evaluate.as_text import text_of
from guardproxy.offline.evaluate.baseline import Opinion
from guardproxy.offline.evaluate.cases import Place
from guardproxy.offline.evaluate.judging import Judgement
from guardproxy.offline.evaluate.metrics import METRICS
from guardproxy.offline.evaluate.results import Record, Report, Sampling, report
from guardproxy.offline.evaluate.rows import Kind

VILE = "<script>alert(1)</script>&"


def record(source: str, i: int, kind: Kind = Kind.TOOL_CALL, *, judged: bool = True, step: bool = False) -> Record:
    harmful, case = bool(i % 2), i.to_bytes(2, "big")
    score = (0.7 if harmful else 0.2) + (i % 5) / 20
    judgement = (
        Judgement(score > 0.75, score, True, ("model: deadline",) * (i == 3), 0.001 * (i + 1)) if judged else None
    )
    return Record(source, kind, harmful, step, source == "toolemu", Place(case, b"", case), judgement)


@pytest.fixture(scope="module")
def made() -> Report:
    records = [
        *(record("ours", i) for i in range(60)),
        *(record("toolemu", i) for i in range(50)),
        *(record(VILE, 2 * i) for i in range(5)),
        *(record("ours", 2 * i + 1, step=True) for i in range(3)),
        *(record("ours", i, Kind.USER_REQUEST, judged=False) for i in range(4)),
    ]
    calls = [r for r in records if r.kind is Kind.TOOL_CALL]
    scores = np.linspace(0, 1, len(calls))
    opinions = {
        Kind.TOOL_CALL: Opinion(scores, scores > 0.5),
        Kind.USER_REQUEST: Opinion(np.full(4, np.nan), np.zeros(4, bool)),
    }
    return report(records, ["rules", "classifier"], Sampling(100, 0), opinions)


def test_the_tree_has_the_documented_shape(made: Report) -> None:
    tree = json.loads(json.dumps(tree_of(made), allow_nan=False))
    entry = tree["sources"]["ours"]["tool_call"]
    assert set(entry) == {"n", "harmful", *METRICS, "ci"}
    assert (entry["n"], entry["harmful"]) == (60, 30)
    assert set(entry["ci"]) == set(METRICS)
    low, high = entry["ci"]["recall"]
    assert low <= entry["recall"] <= high
    macro = tree["macro"]["tool_call"]
    assert set(macro) == {"sources", "n", "harmful", *METRICS, "ci"}
    assert (macro["n"], macro["harmful"]) == (110, 55)
    assert set(tree["latency_ms"]) == {"p50", "p99"}
    assert tree["latency_ms"]["p50"] < tree["latency_ms"]["p99"]


def test_what_does_not_exist_is_null(made: Report) -> None:
    tree = tree_of(made)
    benign = tree["sources"][VILE]["tool_call"]
    assert (benign["auroc"], benign["recall"], benign["ci"]["auroc"]) == (None, None, None)
    assert benign["fpr"] is not None


def test_what_was_not_judged_has_counts_only(made: Report) -> None:
    tree = tree_of(made)
    entry = tree["sources"]["ours"]["user_request"]
    assert (entry["n"], entry["harmful"]) == (4, 2)
    assert {entry[metric] for metric in METRICS} == {None}
    assert tree["macro"]["user_request"]["sources"] == []
    assert tree["not_judged"] == ["user_request"]


def test_apart_and_beside_stand_their_own_parts(made: Report) -> None:
    tree = tree_of(made)
    assert tree["apart"]["aux_read_step"]["ours"]["tool_call"]["n"] == 3
    assert tree["apart"]["soft"] == ["toolemu"]
    assert tree["macro"]["tool_call"]["sources"] == ["ours", "toolemu"]
    assert tree["apart"]["macro_without_soft"]["tool_call"]["sources"] == ["ours"]
    assert tree["episodes"]["sources"]["ours"]["tool_call"]["n"] == 60
    assert tree["baseline"]["sources"]["ours"]["tool_call"]["n"] == 60
    assert tree["failures"] == {"model: deadline": 3}


def test_the_text_tells_the_same(made: Report) -> None:
    text = text_of(made)
    recall = tree_of(made)["sources"]["ours"]["tool_call"]["recall"]
    line = next(line for line in text.splitlines() if line.startswith("  ours "))
    assert line.split()[1:3] == ["60", "30"]
    assert f"{recall:.3f}".removeprefix("0") in line
    for said in (
        "tool_call, by row",
        "by episode",
        "bag of words",
        "steps that only read",
        "macro, no soft (1)",
        "not judged: user_request of ours (4 rows, 2 harmful)",
        "* soft labels: toolemu",
        "WARNING: on 3 rows a guard gave no verdict (model: deadline)",
        "latency tool_call: p50",
    ):
        assert said in text


class _Page(HTMLParser):
    """Checks that tags close, and keeps what they are."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_from_elsewhere(made: Report) -> None:
    page = page_of(made)
    parser = _Page()
    parser.feed(page)
    assert parser.open == []
    tags = [tag for tag, _ in parser.tags]
    assert not {"script", "link", "img", "iframe", "object"} & set(tags)
    assert not any({"src", "href", "style"} & attributes.keys() for _, attributes in parser.tags)
    assert not re.search(r"https?://|url\(|@import", page)
    assert "prefers-color-scheme: dark" in page


def test_the_page_has_a_curve_where_there_are_both_labels(made: Report) -> None:
    page = page_of(made)
    parser = _Page()
    parser.feed(page)
    plots = [attributes["aria-label"] or "" for tag, attributes in parser.tags if tag == "svg"]
    assert [plot.partition(":")[0] for plot in plots if "ROC" in plot] == ["ours", "toolemu"]
    assert sum("reliability" in plot for plot in plots) == 3
    assert page.count('class="bag"') == 2
    assert "nan" not in page.lower().replace("financial", "")


def test_a_source_cannot_write_the_page(made: Report) -> None:
    assert VILE not in page_of(made)
    assert "&lt;script&gt;" in page_of(made)
