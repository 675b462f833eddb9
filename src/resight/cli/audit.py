"""`resight audit`: are results alike in every group."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, deliver, result_table, say
from resight.cli.group_arguments import GroupArguments
from resight.cli.results import estimate, p_value

if TYPE_CHECKING:  # it brings pandas, which --help does not need
    from resight.fairness import Audit

_SHOWN = ("auroc", "sensitivity", "specificity", "ppv", "observed_minus_expected")
_MOST_ROWS = 24


def audit(
    predictions: Path,
    *,
    groups: GroupArguments,
    min_images: int = 20,
    confidence: float = 0.95,
    alpha: float = 0.05,
    healthy: str = "No Finding",
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Compare groups of patients in every metric, with intervals by patient and correction for many tests.

    Args:
        predictions: CSV or Parquet, with the attributes as columns.
        groups: which groups, of which rows.
        min_images: groups of fewer images are counted and not measured.
        confidence: coverage of the intervals.
        alpha: a corrected p below this is called a difference.
        healthy: label that says that nothing was found.
        out: also write everything there, as JSON.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.fairness import audit as judge
    from resight.predictions import Predictions

    options = groups.options(min_images=min_images, confidence=confidence, alpha=alpha, healthy=healthy)
    check_free(out, force=force)
    found = judge(Predictions.read(predictions), options)
    if not deliver(found.to_dict(), out=out, force=force, as_json=as_json):
        _show(found, predictions.name)
    return 0


def _show(found: Audit, name: str) -> None:
    single = [group for group in found.groups if group.label]
    groups = [group for group in single if any(not isnan(group.metrics[metric].value) for metric in _SHOWN)]
    rows = [
        (g.attribute, g.group, g.label, g.images, g.positives, *(estimate(g.metrics[metric]) for metric in _SHOWN))
        for g in groups[:_MOST_ROWS]
    ]
    title = f"{name}: {found.images} images, {found.patients} patients"
    result_table(("by", "group", "label", "images", "positives", *map(_words, _SHOWN)), rows, title=title)
    if len(groups) < len(single):
        say(
            f"nothing is estimable for {len(single) - len(groups)} of {len(single)} groups and labels: too few patients"
        )
    if len(groups) > _MOST_ROWS:
        say(f"and {len(groups) - _MOST_ROWS} more rows; give --out to keep them")
    missed = [(g.attribute, g.group, estimate(g.metrics["underdiagnosis"])) for g in found.groups if not g.label]
    if missed:
        result_table(("by", "group", "underdiagnosis rate"), missed)
    _show_gaps(found)
    say(f"{len(found.found)} of {found.tests} tests find a difference after Holm's correction")
    if found.found:
        columns = ("by", "group", "label", "metric", "group less rest", "p", "p (Holm)", "p (BH)")
        rows = [
            (
                d.attribute,
                d.group,
                d.label or "any",
                _words(d.metric),
                d.difference,
                *map(p_value, (d.p, d.p_holm, d.p_bh)),
            )
            for d in found.found
        ]
        result_table(columns, rows)
    causes = [cause for cause in found.causes if cause.p < found.alpha]
    if causes:
        title = "Groups also differ in (chi-square by patient, Holm)"
        rows = [(c.attribute, c.what, f"{c.strength:.2f}", p_value(c.p), _shares(c.shares)) for c in causes]
        result_table(("by", "what", "Cramér's V", "p", "shares"), rows, title=title)
    for note in found.notes:
        say(f"note: {note}")


def _show_gaps(found: Audit) -> None:
    """Of every attribute the label with the widest equalised-odds and calibration gaps."""
    from resight.fairness import widest_gaps

    rows = [
        (gap.attribute, _words(gap.metric), gap.label, gap.gap, gap.worst, gap.best)
        for gap in widest_gaps(found, ("equalised_odds", "observed_minus_expected", "auroc"))
    ]
    if rows:
        result_table(("by", "gap", "widest for", "largest less smallest", "worst", "best"), rows)


def _words(metric: str) -> str:
    return {"auroc": "AUROC", "ppv": "PPV"}.get(metric, metric.replace("_", " "))


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{group} {share:.1%}" for group, share in shares.items())
