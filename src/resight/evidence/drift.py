"""The report's section on drift: what later cases will be compared with, and what the watch can notice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from resight.evidence.page import Section
from resight.evidence.wording import listed, number, plural
from resight.monitoring import Reference, Rehearsal


def drift_section(reference: Reference | None, rehearsal: Rehearsal | None) -> Section:
    """What the bundle remembers for `resight monitor`.

    Args:
        reference: its memory; None where too few patients were held out.
        rehearsal: the watch tried out on it.
    """
    return Section(
        "Drift",
        how="Scanners, patients and habits change. What the model was judged on travels in the bundle, so that "
        "resight monitor can say when later cases are no longer like it.",
        sentences=tuple(drift_words(reference, rehearsal)),
    )


def drift_words(reference: Reference | None, rehearsal: Rehearsal | None) -> Iterator[str]:
    """The same in sentences. Arguments as `drift_section`."""
    if reference is None:
        yield "Too few patients were held out to compare later cases with: drift cannot be noticed."
        return
    columns = [*reference.numbers, *reference.categories]
    yield (
        f"Later cases are compared with {plural(reference.rows, 'patient')} of the {reference.chosen_on or 'whole'} "
        f"images in {plural(len(columns), 'column')}: {listed(columns)}."
    )
    if rehearsal is None:
        yield "They are too few to try the watch out on."
        return
    yield (
        f"The chance that the watch ever raises a false alarm is at most {number(100 * rehearsal.alpha, 0)} %; on "
        f"halves of the reference it raised {rehearsal.false_alarms} in {rehearsal.deals} deals of "
        f"{plural(rehearsal.cases, 'case')}."
    )
    caught = rehearsal.caught[~np.isnan(rehearsal.caught)]
    when = f", as a rule after {plural(round(float(np.median(caught))), 'case')}" if len(caught) else ""
    yield (
        "Had every score, tone and feature of the images moved by one standard deviation, it would have been noticed "
        f"within {plural(rehearsal.cases, 'case')} in {len(caught)} of {rehearsal.deals} deals{when}."
    )
