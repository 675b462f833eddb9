"""A page of evidence: each image with what the model says and where it sees the reason, labels side by side."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from resight.errors import OutputError
from resight.evidence.explanations import explanation_section
from resight.evidence.page import Page, render_page, write_html
from resight.evidence.wording import number
from resight.explain import MapScores


@dataclass(frozen=True)
class _Finding:
    label: str
    said: str
    picture: str
    percent: float


@dataclass(frozen=True)
class _Picture:
    name: str
    findings: tuple[_Finding, ...]
    error: str
    alerts: str
    nearest: tuple[str, ...]


def write_evidence_page(
    path: Path,
    evidence: pd.DataFrame,
    predictions: pd.DataFrame,
    *,
    title: str,
    method: str,
    limits: Sequence[str] = (),
    scores: MapScores | None = None,
) -> None:
    """Write the page; pictures are taken into it, so that it can be sent alone.

    Args:
        path: the HTML file; pictures lie beside it.
        evidence: rows `image, label, picture, error`, and `nearest` where similar cases are known.
        predictions: rows `image, label, probability, decision, operating_point, conformal, alerts`.
        title: name of the model.
        method: name of the explainer.
        limits: what is to be kept in mind, one sentence each.
        scores: what was measured of the maps.

    Raises:
        OutputError: the page cannot be written or a picture is gone.
    """
    said = {(str(row["image"]), str(row["label"])): row for row in predictions.to_dict("records")}
    pictures: list[_Picture] = []
    for name, rows in evidence.groupby("image", sort=False):
        findings = [
            _finding(path.parent, row, said) for row in rows.to_dict("records") if isinstance(row["picture"], str)
        ]
        failed = rows["error"].dropna()
        alerts = str(predictions.loc[predictions["image"] == name, "alerts"].fillna("").max() or "")
        nearest = rows["nearest"].iloc[0] if "nearest" in rows.columns else ""
        near = tuple(part for part in str(nearest or "").split("; ") if part)
        pictures.append(_Picture(str(name), tuple(findings), "" if failed.empty else str(failed.iloc[0]), alerts, near))
    page = Page(
        kind=f"Evidence by {method}",
        title=f"{title}: evidence",
        sections=() if scores is None else (explanation_section(scores),),
        lead="Colour marks what the method finds influential for a label; it does not prove that the model looked at "
        "the disease.",
        warnings=tuple(limits),
        notice="Evidence maps explain a model, not a patient.",
    )
    write_html(path, render_page(page, "explained.html", pictures=pictures))


def _finding(folder: Path, row: Mapping[Any, Any], said: Mapping[tuple[str, str], Mapping[Any, Any]]) -> _Finding:
    label = str(row["label"])
    found = said[str(row["image"]), label]
    probability = float(found["probability"] if "probability" in found else found["score"])
    words = [f"probability {number(probability, 2)}" if not math.isnan(probability) else "no probability"]
    if pd.notna(found.get("decision")):
        point = f" at {found['operating_point']}" if "operating_point" in found else ""
        words.append(("flagged" if found["decision"] > 0 else "not flagged") + point)
    if isinstance(found.get("conformal"), str):
        words.append(f"set: {found['conformal']}")
    try:
        data = (folder / str(row["picture"])).read_bytes()
    except OSError as error:
        raise OutputError(f"cannot be read ({error.strerror})", where=str(folder / str(row["picture"]))) from error
    uri = "data:image/png;base64," + base64.b64encode(data).decode("ascii")
    return _Finding(label, ", ".join(words), uri, 0.0 if math.isnan(probability) else round(100 * probability, 1))
