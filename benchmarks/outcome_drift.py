"""How soon `resight monitor` sees that probabilities no longer hold, and how often it cries wolf while they do.

    python benchmarks/outcome_drift.py

A reference of 300 outcomes, then outcomes one by one whose probabilities are right for the first 200 and from then on
too high by one logit (what was 50 % is 27 %), or stay right. One finding of about 31 %. Writes
benchmarks/results/outcome_drift.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from resight.monitoring.outcomes import watch_outcomes
from resight.monitoring.reference import calibration_of
from resight.predictions import Predictions

ROOT = Path(__file__).parents[1]
REFERENCE, QUIET, LONGEST = 300, 200, 800


def outcomes(rng: np.random.Generator, count: int, too_high: np.ndarray) -> Predictions:
    logit = rng.normal(-1, 1.5, count)
    target = (rng.random(count) < expit(logit - too_high)).astype(float)
    images = pd.DataFrame({"image": [str(i) for i in range(count)]})
    p = expit(logit)[:, None]
    return Predictions.from_arrays(images, ("finding",), "binary", score=p, probability=p, target=target[:, None])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--alpha", type=float, default=0.01)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "outcome_drift.json")
    given = parser.parse_args()
    delays, early, false_alarms = [], 0, 0
    changed = np.r_[np.zeros(QUIET), np.ones(LONGEST)]
    for stream in range(given.streams):
        rng = np.random.default_rng(stream)
        reference = calibration_of(outcomes(rng, REFERENCE, np.zeros(REFERENCE)))
        found = [
            watch_outcomes(reference, outcomes(rng, QUIET + LONGEST, off), alpha=given.alpha)
            for off in (changed, 0 * changed)
        ]
        case, without = (None if one is None else one.alarm.case for one in found)
        early += case is not None and case <= QUIET
        false_alarms += without is not None
        delays.append(np.nan if case is None else case - QUIET)
    known = pd.Series(delays)[pd.Series(delays) > 0]
    result = {
        "streams": given.streams,
        "alpha": given.alpha,
        "reference_outcomes": REFERENCE,
        "outcomes_before_the_change": QUIET,
        "false_alarms_without_change": false_alarms,
        "outcomes_watched_without_change": QUIET + LONGEST,
        "alarms_before_the_change": early,
        "caught": len(known),
        "outcomes_until_caught": {f"p{q}": float(known.quantile(q / 100)) for q in (50, 90, 100)},
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
