"""The page as a whole: well-formed, self-contained, escaped, and no section without content."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from resight.errors import OutputError
from resight.evaluation import OperatingResult
from resight.evidence import Example, Exclusion, LeakCheck, ReportContent, render_report, write_report
from resight.types import MetricValue

_VOID = {"meta", "img", "br", "link", "input"}
_HOSTILE = "x\"><script>alert('a')</script><img src=http://evil.example/?.png"


class _Page(HTMLParser):
    """Checks that tags nest and collects ids, references, headings and text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[int] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute of {tag} stands twice"
        self.tags.append((tag, found))
        self.ids += [found["id"] or ""] if "id" in found else []
        self.references += [found[k] or "" for k in ("src", "href", "xlink:href", "action") if k in found]
        if re.fullmatch(r"h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag


def test_the_page_is_well_formed_with_unique_ids_and_headings_in_order(page: str) -> None:
    parsed = _Page(page)
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert parsed.headings.count(1) == 1
    steps = np.diff([1, *sorted(set(parsed.headings))])
    assert (steps <= 1).all()
    tags = [tag for tag, _ in parsed.tags]
    assert {"header", "nav", "main", "footer"} <= set(tags)
    assert tags.count("caption") == tags.count("table") > 0


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    parsed = _Page(page)
    assert all(ref.startswith(("#", "data:image/")) for ref in parsed.references)
    assert not re.search(r"url\(|@import|https?://|<link", page)


def test_every_link_has_its_place_and_every_label_its_element(page: str) -> None:
    parsed = _Page(page)
    wanted = [ref[1:] for ref in parsed.references if ref.startswith("#")]
    wanted += [found["aria-labelledby"] or "" for _, found in parsed.tags if "aria-labelledby" in found]
    assert set(wanted) <= set(parsed.ids)


def test_every_chart_has_a_title_and_every_image_a_text(page: str) -> None:
    charts = re.findall(r'<svg class="chart" role="img"[^>]*><title>([^<]+)</title>', page)
    assert len(charts) == page.count('class="chart"') > 0
    assert len(set(charts)) == len(charts)
    assert all(found.get("alt") for tag, found in _Page(page).tags if tag == "img")


def test_no_number_leaks_out_unformatted(page: str) -> None:
    visible = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r"\b(nan|inf|None|np\.float64|MetricValue)\b", visible)


def test_every_section_of_a_full_report_is_there(binary: ReportContent) -> None:
    ids = _Page(render_report(binary)).ids
    for name in ("summary", "data", "results", "calibration", "decisions", "groups", "examples", "training"):
        assert name in ids
    assert {"limits", "reading", "provenance"} <= set(ids)


@pytest.mark.parametrize(
    ("section", "without"),
    [
        ("groups", {"subgroups": ()}),
        ("examples", {"examples": ()}),
        ("training", {"histories": ()}),
        ("provenance", {"provenance": {}, "settings_toml": ""}),
        ("data", {"splits": (), "assessed": None, "excluded": (), "alerts": (), "leak_check": None}),
    ],
)
def test_a_section_without_content_is_left_out_with_its_link(
    binary: ReportContent, section: str, without: dict[str, object]
) -> None:
    parsed = _Page(render_report(replace(binary, **without)))  # type: ignore[arg-type]
    assert section not in parsed.ids
    assert f"#{section}" not in parsed.references


def test_words_of_sections_are_explained_where_there_are_such_sections(
    binary: ReportContent, bare: ReportContent
) -> None:
    for content, told in ((binary, True), (bare, False)):
        page = render_report(content)
        assert ("<dt>Equalised-odds gap</dt>" in page) is told
        assert ("<dt>Holm&#39;s correction</dt>" in page) is told
        assert "<dt>AUROC</dt>" in page


def test_a_failed_leak_check_is_shown_even_when_it_is_all_there_is(bare: ReportContent) -> None:
    page = render_report(replace(bare, leak_check=LeakCheck(False, ("12 patients are in two splits.",))))
    assert "not independent" in page
    assert "12 patients are in two splits." in page
    assert page.index("not independent") < page.index("such pairs"), "the warning comes before the result"


def test_hostile_names_are_escaped_everywhere(binary: ReportContent) -> None:
    label = replace(binary.evaluation.labels[0], label=_HOSTILE)
    operating = tuple(replace(o, label=_HOSTILE, name=_HOSTILE) for o in binary.evaluation.operating)
    hostile = replace(
        binary,
        title=_HOSTILE,
        intended_use=_HOSTILE,
        evaluation=replace(binary.evaluation, labels=(label,), operating=operating, notes=(_HOSTILE,)),
        excluded=(Exclusion(_HOSTILE, _HOSTILE),),
        leak_check=LeakCheck(True, (_HOSTILE,)),
        examples=tuple(replace(e, name=_HOSTILE, label=_HOSTILE, operating_point=_HOSTILE) for e in binary.examples),
        explained_by=_HOSTILE,
        provenance={_HOSTILE: {_HOSTILE: [_HOSTILE]}},
        settings_toml=_HOSTILE,
        created=_HOSTILE,
    )
    page = render_report(hostile)
    parsed = _Page(page)
    assert sum(tag == "script" for tag, _ in parsed.tags) == 1
    assert all(ref.startswith(("#", "data:image/")) for ref in parsed.references)
    assert page.count("&lt;script&gt;") > 10


def test_what_is_not_estimable_says_so_with_the_reason_and_is_not_zero(fourteen: ReportContent) -> None:
    hernia = next(r for r in fourteen.evaluation.labels if r.label == "Hernia")
    reason = hernia.metrics["auroc"].undefined_because
    assert "0 positives" in reason
    page = render_report(fourteen)
    assert f"not estimable: {reason}" in page
    row = re.search(r'<th scope="row">Hernia</th>.*?</tr>', page[page.index("Ranking of images") :], re.DOTALL)
    assert row is not None
    assert row[0].count("not estimable") >= 5
    assert reason in row[0]
    assert "No curve for Hernia: not estimable." in page


def test_intervals_stand_beside_the_numbers(binary: ReportContent) -> None:
    auroc = binary.evaluation.labels[0].metrics["auroc"]
    page = render_report(binary)
    assert f'{auroc.value:.3f} <span class="ci">{auroc.low:.3f} to {auroc.high:.3f}</span>' in page
    point: OperatingResult = binary.evaluation.operating[0]
    counts = (point.confusion.true_positives, point.confusion.false_negatives, point.confusion.false_positives)
    cells = "".join(f'<td class="number">{count}</td>' for count in counts)
    assert cells in page


def test_the_mean_row_leaves_out_what_would_cancel(three: ReportContent) -> None:
    page = render_report(three)
    row = re.search(r"Mean where estimable</th>.*?</tr>", page[page.index("Quality of probabilities") :])
    assert row is not None
    assert row[0].endswith('<td class="number">–</td><td class="number">–</td></tr>')
    assert f"{three.evaluation.macro['ece'].value:.3f}" in row[0]


def test_baselines_stand_beside_results(binary: ReportContent, three: ReportContent) -> None:
    metadata = next(b for b in binary.evaluation.baselines if b.name == "metadata").metrics["auroc"]
    page = render_report(binary)
    for column in ("Share of positives", "Metadata only", "Accuracy of the commoner answer"):
        assert f">{column}</th>" in page
    assert f"{metadata.value:.3f}" in page
    majority = next(b for b in three.evaluation.baselines if b.name == "majority").metrics["accuracy"]
    assert f"{majority.value:.3f}" in render_report(three)


def test_a_case_shows_its_probability_threshold_and_outcome(
    bare: ReportContent, make_example: Callable[..., Example]
) -> None:
    case = make_example(1, "Pneumonia", "a.png")
    page = render_report(replace(bare, examples=(case,)))
    assert "Pneumonia: false negative" in page
    assert "Probability 0.12, not flagged at youden, 0.310. Reference: present." in page
    assert '<i style="width:12.0%"></i><b style="left:31.0%"></b>' in page
    unknown = replace(case, probability=float("nan"), target=None, threshold=None)
    assert "No probability, not flagged at youden, 0.310. Reference: not known." in render_report(
        replace(bare, examples=(unknown,))
    )


def test_the_page_stays_small(fourteen: ReportContent) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 512, 400, 3), dtype=np.uint8)
    examples = tuple(
        replace(e, image=picture, overlay=picture) for e, picture in zip(fourteen.examples, noise, strict=True)
    )
    assert len(render_report(replace(fourteen, examples=examples)).encode()) < 3_000_000


def test_the_script_is_the_one_the_policy_allows(page: str) -> None:
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page


def test_write_report_writes_and_says_when_it_cannot(bare: ReportContent, tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", bare)
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "absent" / "report.html", bare)


def test_an_evaluation_without_any_estimable_label_still_gives_a_report(bare: ReportContent) -> None:
    result = bare.evaluation.labels[0]
    nothing = {name: MetricValue.undefined("0 positives, 40 negatives", 40) for name in result.metrics}
    evaluation = replace(bare.evaluation, labels=(replace(result, metrics=nothing),), estimable=0)
    page = render_report(replace(bare, evaluation=evaluation))
    assert "the AUROC is not estimable (0 positives, 40 negatives)" in page
    assert '<dd class="figure words">not estimable</dd>' in page
