from __future__ import annotations

import json
import math
from pathlib import Path

from resight.protocols import Figure, Row, Study, write_study
from resight.types import MetricValue

_LONG = "One row a metric"
_WIDE = "One row a method"


def _study() -> Study:
    published = (Figure("0.745", "Wang et al. 2017", "read"),)
    rows = [
        Row("ResNet-50", "AUROC", MetricValue(0.75, 0.73, 0.77), published, note="a|b"),
        Row("ResNet-101", "AUROC", published=published),
        Row("ResNet-152", "AUROC", published=published, absent="labels withheld"),
    ]
    wide = [
        Row("elm", "accuracy", MetricValue(0.9, 0.8, 0.95), note="sd 0.010"),
        Row("elm", "AUROC", MetricValue(0.97)),
        Row("elm less svm", "accuracy", MetricValue(-0.01, -0.03, 0.01)),
        Row("elm less svm", "AUROC", MetricValue(0.02, 0.01, 0.03), signed=True),
        Row("elm less elm", "AUROC", MetricValue(0.02), note="alike on every split", signed=True),
    ]
    return Study(
        name="some",
        title="A study",
        question="Does it? No.",
        tables={_LONG: rows, _WIDE: wide},
        conclusions=("It does not.",),
        command="resight reproduce some",
        pictures={"course.svg": "The course."},
        record={"seed": 0, "undefined": math.nan},
        wide=(_WIDE,),
    )


def test_page_shows_ours_beside_the_published_and_no_empty_column(tmp_path: Path) -> None:
    write_study(tmp_path, _study())
    page = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "| method | metric | ours | published | note |" in page
    assert r"| ResNet-50 | AUROC | 0.750 (0.730-0.770) | 0.745 (Wang et al. 2017; read) | a\|b |" in page
    assert "| ResNet-101 | AUROC | not run | 0.745 (Wang et al. 2017; read) |  |" in page
    assert "| ResNet-152 | AUROC | labels withheld | 0.745 (Wang et al. 2017; read) |  |" in page
    assert "![The course.](course.svg)" in page
    assert "- It does not." in page
    assert "resight reproduce some" in page


def test_wide_table_has_a_line_a_method_and_a_column_a_metric(tmp_path: Path) -> None:
    write_study(tmp_path, _study())
    page = (tmp_path / "study.md").read_text(encoding="utf-8")
    assert "| method | accuracy | AUROC |" in page
    assert "| elm | 0.900 (0.800-0.950), sd 0.010 | 0.970 |" in page
    assert "| elm less svm | -0.010 (-0.030 to +0.010) | +0.020 (+0.010 to +0.030) |" in page
    assert "| elm less elm |  | +0.020, alike on every split |" in page


def test_json_holds_everything_and_no_nan(tmp_path: Path) -> None:
    write_study(tmp_path, _study())
    kept = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    assert kept["tables"][_LONG][0]["ours"]["value"] == 0.75
    assert kept["tables"][_LONG][1]["ours"] is None
    assert kept["tables"][_LONG][0]["published"][0]["certainty"] == "read"
    assert kept["record"] == {"seed": 0, "undefined": None}
