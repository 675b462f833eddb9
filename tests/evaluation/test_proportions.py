"""Edge cases of proportions; values and coverage are held in `tests/oracles`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resight.evaluation import proportion


def test_no_rows_say_why() -> None:
    value = proportion(np.zeros(0, dtype=bool), undefined_because="no positives")
    assert np.isnan(value.value)
    assert value.undefined_because == "no positives"


def test_repeated_patients_count_as_patients() -> None:
    hit, owner = np.ones(100, dtype=bool), np.repeat(np.arange(10), 10)
    by_patient, plain = proportion(hit, owner), proportion(hit)
    assert plain.low == pytest.approx(0.025 ** (1 / 100))
    assert by_patient.low == pytest.approx(0.025 ** (1 / 10))
    assert by_patient.interval == "Korn-Graubard by patient"
    assert proportion(hit, np.arange(100)) == plain
    assert proportion(hit, owner, method="wilson").interval == "Wilson by patient"


def test_one_patient_gives_no_interval() -> None:
    value = proportion(np.array([True, False]), np.zeros(2, dtype=int))
    assert value.value == 0.5
    assert np.isnan(value.low)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=30))
def test_an_interval_holds_its_value(rows: list[tuple[bool, int]]) -> None:
    hit, owner = np.array([h for h, _ in rows]), np.array([p for _, p in rows])
    for method in ("exact", "wilson"):
        value = proportion(hit, owner, method=method)
        if value.interval:
            assert 0 <= value.low <= value.value <= value.high <= 1
