from __future__ import annotations

import pytest

from resight.cohorts import CohortOptions, datasheet, inspect_cohort, leakcheck, load_cohort
from resight.cohorts.datasheets import QUESTIONS, UNKNOWN
from resight.errors import CohortError


def test_every_question_is_asked_once_and_gaps_are_named(make_cohort):
    text = datasheet(make_cohort(X=[0, 1, 1]))
    questions = [question for section in QUESTIONS.values() for _, question in section]
    assert all(text.count(f"**{question}**") == 1 for question in questions)
    assert text.count(UNKNOWN) >= 10
    assert "| X | 2 | 1 | 0 | 0.667 |" in text
    assert "no patient is known" in text


def test_what_people_know_stands_before_what_was_measured(make_cohort):
    cohort = make_cohort(patient_id=["1", "1", "2"], X=[0, 1, 1])
    text = datasheet(cohort, answers={"licence": "CC0.", "relations": "One visit each."})
    assert text.index("One visit each.") < text.index("at most 2 images belong to one patient")
    assert "CC0." in text
    with pytest.raises(CohortError, match="Did you mean 'licence'"):
        datasheet(cohort, answers={"license": "CC0."})


def test_the_leak_check_answers_errors_and_risks(real_data):
    cohort = load_cohort(CohortOptions(path=real_data("cxr_pneumonia_kermany")))
    text = datasheet(cohort, summary=inspect_cohort(cohort), leaks=leakcheck(cohort))
    assert "Leak check: suspect." in text
    assert "same file: 2 images in 1 groups" in text
    assert "subtype alone tells PNEUMONIA" in text
    assert "224x224 (803)" in text
