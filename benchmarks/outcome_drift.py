"""How soon `resight monitor` sees that probabilities no longer hold, and how often it cries wolf while they do.

    python benchmarks/outcome_drift.py

A reference of 300 outcomes, then outcomes one by one whose probabilities are right for the first 200 and from then on
too high by one logit (what was 50 % is 27 %), or stay right. One finding of about 31 %. Writes
benchmarks/results/outcome_drift.json.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from drift_streams import arguments, summary
from scipy.special import expit

from resight.monitoring.outcomes import watch_outcomes
from resight.monitoring.reference import calibration_of
from resight.predictions import Predictions
from resight.settings import write_json

REFERENCE, QUIET, LONGEST = 300, 200, 800


def outcomes(rng: np.random.Generator, count: int, too_high: np.ndarray) -> Predictions:
    logit = rng.normal(-1, 1.5, count)
    target = (rng.random(count) < expit(logit - too_high)).astype(float)
    images = pd.DataFrame({"image": [str(i) for i in range(count)]})
    p = expit(logit)[:, None]
    return Predictions.from_arrays(images, ("finding",), "binary", score=p, probability=p, target=target[:, None])


def main() -> None:
    given = arguments("outcome_drift", __doc__).parse_args()
    changed, unchanged = [], []
    too_high = np.r_[np.zeros(QUIET), np.ones(LONGEST)]
    for stream in range(given.streams):
        rng = np.random.default_rng(stream)
        reference = calibration_of(outcomes(rng, REFERENCE, np.zeros(REFERENCE)))
        for off, alarms in ((too_high, changed), (0 * too_high, unchanged)):
            watched = watch_outcomes(reference, outcomes(rng, QUIET + LONGEST, off), alpha=given.alpha)
            alarms.append(None if watched is None else watched.alarm.case)
    result = {
        "alpha": given.alpha,
        "reference_outcomes": REFERENCE,
        "outcomes_before_the_change": QUIET,
        "outcomes_watched_without_change": QUIET + LONGEST,
        **summary(changed, unchanged, quiet=QUIET, unit="outcomes"),
    }
    write_json(given.out, result)
    print(result)


if __name__ == "__main__":
    main()
