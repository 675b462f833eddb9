"""A reference tried out on itself notices what was moved, and nothing where nothing was."""

from __future__ import annotations

import numpy as np

from resight.evidence import drift_words
from resight.monitoring import fit_reference, rehearse


def test_a_moved_half_is_caught_and_an_unmoved_one_is_not(arrive) -> None:
    reference = fit_reference(arrive(0, 300))
    found = rehearse(reference, alpha=0.01)
    assert (found.cases, found.false_alarms) == (150, 0)
    assert (found.caught <= 150).all()
    smaller = rehearse(reference, alpha=0.01, shift_sd=0.5)
    assert np.nan_to_num(smaller.caught, nan=1000).mean() > 1.5 * found.caught.mean()
    still = rehearse(reference, alpha=0.01, shift_sd=0.0)
    assert np.isnan(still.caught).all()


def test_words_say_how_many_and_how_soon(arrive) -> None:
    reference = fit_reference(arrive(0, 300))
    said = " ".join(drift_words(reference, rehearse(reference, alpha=0.01)))
    assert "compared with 300 patients of the whole images in 5 columns: score of a, score of b" in said
    assert "at most 1 %" in said
    assert "within 150 cases in 10 of 10 deals, as a rule after" in said


def test_too_few_to_try_out_and_none_at_all_are_said(arrive) -> None:
    small = fit_reference(arrive(0, 30))
    assert rehearse(small, alpha=0.01) is None
    assert list(drift_words(small, None))[-1] == "They are too few to try the watch out on."
    assert "cannot be noticed" in next(drift_words(None, None))
