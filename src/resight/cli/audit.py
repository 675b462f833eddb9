"""`resight audit`: are results alike in every group."""

from __future__ import annotations

from collections.abc import Mapping
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, result_json, result_table, say
from resight.errors import SettingsError

if TYPE_CHECKING:  # it brings pandas, which --help does not need
    from resight.fairness import Audit
    from resight.types import MetricValue

_SHOWN = ("auroc", "sensitivity", "specificity", "ppv", "observed_minus_expected")
_MOST_ROWS = 24


def audit(
    predictions: Path,
    *,
    by: str,
    edges: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    split: str | None = None,
    min_images: int = 20,
    min_events: int = 10,
    bootstrap: int = 1000,
    confidence: float = 0.95,
    alpha: float = 0.05,
    healthy: str = "No Finding",
    seed: int = 0,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Compare groups of patients in every metric, with intervals by patient and correction for many tests.

    Args:
        predictions: CSV or Parquet, with the attributes as columns.
        by: attributes, comma-separated; `sex+age` for their intersection.
        edges: edges of a numeric attribute, as in `age=18,40,65`; decades of age and quartiles when not given.
        split: rows to audit; `test` where there is one, otherwise all; `all` takes every row.
        min_images: groups of fewer images are counted and not measured.
        min_events: a rate needs so many patients under its bar.
        bootstrap: replicates by patient; 0 leaves bootstrap intervals away.
        confidence: coverage of the intervals.
        alpha: a corrected p below this is called a difference.
        healthy: label that says that nothing was found.
        seed: of the bootstrap.
        out: also write everything there, as JSON.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.fairness import AuditOptions
    from resight.fairness import audit as judge
    from resight.predictions import Predictions
    from resight.settings import validate, write_json

    given = {
        "by": attributes(by),
        "edges": dict(edge(entry) for entry in edges),
        "split": split,
        "min_images": min_images,
        "min_events": min_events,
        "bootstrap": bootstrap,
        "confidence": confidence,
        "alpha": alpha,
        "healthy": healthy,
        "seed": seed,
    }
    options = validate(AuditOptions, given, where="command line")
    if out is not None:
        check_free(out, force=force)
    found = judge(Predictions.read(predictions), options)
    if out is not None:
        write_json(fresh(out, force=force), found.to_dict())
        say(f"written: {out}")
    if as_json:
        result_json(found.to_dict())
    else:
        _show(found, predictions.name)
    return 0


def attributes(text: str) -> tuple[str, ...]:
    """`sex,age,sex+age` as a tuple."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def edge(entry: str) -> tuple[str, tuple[float, ...]]:
    """`age=18,40,65` as a name and numbers.

    Raises:
        SettingsError: it is not of that form.
    """
    name, _, numbers = entry.partition("=")
    try:
        return name.strip(), tuple(float(number) for number in numbers.split(","))
    except ValueError:
        expected = "attribute=number,number,..."
        raise SettingsError(f"edges {entry!r}", where="--edges", expected=expected) from None


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


def estimate(value: MetricValue) -> str:
    """A value for a table, or that there is none and of how many."""
    return f"not estimable ({value.n})" if isnan(value.value) else str(value)


def _words(metric: str) -> str:
    return {"auroc": "AUROC", "ppv": "PPV"}.get(metric, metric.replace("_", " "))


def p_value(value: float) -> str:
    """A p for a table; empty where there is none."""
    return "" if isnan(value) else f"{value:.4f}" if value >= 1e-4 else "<0.0001"


def _shares(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{group} {share:.1%}" for group, share in shares.items())
