"""Tables of results: what is told once and what by itself."""

from __future__ import annotations

from dataclasses import replace

from resight.evidence import ReportContent
from resight.evidence.result_tables import operating_tables


def test_operating_points_that_decide_alike_are_told_once_with_all_their_notes(fourteen: ReportContent) -> None:
    first = [one for one in fourteen.evaluation.operating if one.name == fourteen.evaluation.operating[0].name]
    again = [replace(one, name="again") for one in first]
    other = [replace(one, name="other", threshold=one.threshold + 0.1) for one in first]
    evaluation = replace(fourteen.evaluation, operating=(*first, *again, *other))
    points = [
        point.model_copy(update={"name": "again", "note": "as the first"}) for point in fourteen.operating_points[:1]
    ]
    same, apart = operating_tables(evaluation, points)
    assert same.caption == f"Operating point: {first[0].name}, again"
    assert apart.caption == "Operating point: other"
    assert len(same.rows) == len(apart.rows) == len(evaluation.labels)
    assert "as the first" in same.note
    assert "as the first" not in apart.note
