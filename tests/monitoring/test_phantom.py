"""A planted change of scanner is caught within the stated number of cases, and not before it happens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resight.cohorts import PhantomOptions
from resight.cohorts.phantom import render
from resight.models import Predictor
from resight.monitoring import fit_reference, monitor

BUNDLE = Path(__file__).parents[1] / "golden" / "bundle_v1"


@pytest.mark.slow
def test_another_scanner_is_caught_within_200_cases() -> None:
    options = PhantomOptions(images=1100, size_px=64, sites=2, images_per_patient=1)
    drawn = [render(options, index) for index in range(options.images)]
    site = np.array([one.row["site"] for one in drawn])
    ours, other = np.flatnonzero(site == "A"), np.flatnonzero(site == "B")
    order = np.concatenate([ours[:400], other[:200]])
    predictor = Predictor.load(BUNDLE, device="cpu")
    shape = (predictor.manifest.channels, 1, 1)
    predictions = predictor.predict([np.tile(drawn[index].pixels[None], shape) for index in order])
    size = len(predictions.labels)
    table = predictions.table.drop(columns="error")
    before, after = (
        replace(predictions, table=part.reset_index(drop=True)) for part in (table[: 300 * size], table[300 * size :])
    )
    alarm = monitor(fit_reference(before), [after]).alarm
    assert alarm.case is not None
    assert 100 < alarm.case <= 300
    assert {"brightness", "contrast", "sharpness"} & {name.removeprefix("spread of ") for name in alarm.columns}
