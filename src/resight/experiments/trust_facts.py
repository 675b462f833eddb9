"""What is measured beside the results, and what a bundle's card says of it: groups, explanations, people, drift."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from resight.evidence import drift_words, verdict_words
from resight.experiments.groups import GroupFindings
from resight.experiments.judge import Judged
from resight.experiments.people import PeopleFindings
from resight.explain import MapScores
from resight.monitoring import Reference, Rehearsal

_MOST_LABELS = 5
"""A card is read by people; all figures stand in the run's folder."""


@dataclass(frozen=True)
class Trust:
    """What report and bundle say besides results.

    Attributes:
        scores: of the evidence maps.
        groups: of the audit.
        people: readers beside the model.
        reference: what later cases will be compared with; None where too few patients were held out.
        rehearsal: the watch for drift tried out on it.
    """

    scores: MapScores
    groups: GroupFindings
    people: PeopleFindings
    reference: Reference | None
    rehearsal: Rehearsal | None


def trust_facts(judged: Judged, trust: Trust) -> dict[str, tuple[str, ...]]:
    """Sentences by heading.

    Args:
        judged: sets and confidence on the rows evaluated.
        trust: everything else.
    """
    return {
        "Groups": (*trust.groups.sentences, *trust.groups.gaps),
        "Doubt": tuple(_doubt(judged)),
        "Explanations": tuple(_explanations(trust.scores)),
        "People and model": trust.people.sentences,
        "Drift": tuple(drift_words(trust.reference, trust.rehearsal)),
    }


def _doubt(judged: Judged) -> Iterator[str]:
    sets, rule = judged.uncertainty.sets, judged.conformal.rule
    if sets is not None:
        promised = f"{sets.promised:.0%}"
        if sets.recall is not None:
            yield f"Sets made to hold {promised} of an image's findings held {sets.recall}."
        for label, value in [*sets.coverage.items()][:_MOST_LABELS]:
            yield f"Sets made to hold the truth for {promised} held it for {value} ({label})."
        if rule is not None:
            own = {name: value for name, value in sets.by_group.items() if name.startswith(f"{rule.by} ")}
            yield f"With thresholds for each group they held it for {'; '.join(f'{k}: {v}' for k, v in own.items())}."
        known = {name: value for name, value in sets.by_group.items() if not math.isnan(value.value)}
        if known:
            name = min(known, key=lambda one: known[one].value)
            yield f"Of {len(known)} groups, sets held the truth least often for {name}: {known[name]}."
    for label, curve in [*judged.uncertainty.selective.items()][:_MOST_LABELS]:
        everything, half = (curve.at.get(share) for share in (1.0, 0.5))
        if everything is not None and half is not None and not math.isnan(everything.value):
            yield f"{label}: wrong answers {everything} when all are answered, {half} when only the surest half is."


def _explanations(scores: MapScores) -> Iterator[str]:
    yield verdict_words(scores.method, scores.verdict)
    yield f"Measured on {scores.pairs} maps of {scores.images} images."
    if "gain" in scores.faithfulness:
        yield f"Showing what is marked less hiding it: {scores.faithfulness['gain']} (a random order gives 0)."
    for name, value in scores.other_models.items():
        if name.startswith(("100%", "trained")):
            yield f"Rank correlation with the maps of another network ({name}): {value}."
    for name, found in scores.places.items():
        yield f"Pointing game, {name}: {found.pointing}."
