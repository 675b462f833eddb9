from __future__ import annotations

from pathlib import Path

import pytest

from resight.errors import SettingsError
from resight.evaluation.claims import check_claims

REVIEW = {
    "lung-images": "consistent",
    "lung-patients": "consistent",
    "lung-auroc-resnet50": "consistent",
    "lung-auroc-resnet101": "not checkable",
    "lung-auroc-resnet152": "not checkable",
    "lung-other-networks": "not checkable",
    "skin-images": "inconsistent",
    "skin-accuracy-melanoma": "consistent",
    "skin-accuracy-naevus": "consistent",
    "skin-sensitivity": "not checkable",
    "skin-other-methods": "not checkable",
    "brain-images": "not checkable",
    "brain-rates": "consistent",
    "brain-other-methods": "not checkable",
}


def check_one(tmp_path: Path, **keys: str) -> tuple[str, str]:
    head = {"id": '"x"', "statement": '"s"', "source": '"t"'}
    text = "[[claims]]\n" + "\n".join(f"{k} = {v}" for k, v in {**head, **keys}.items())
    file = tmp_path / "claims.toml"
    file.write_text(text)
    (verdict,) = check_claims(file)
    return verdict.verdict, verdict.explanation


RATES = {"kind": '"rates"', "positives": "100", "negatives": "100"}


def test_verdicts_on_the_review():
    verdicts = check_claims()
    assert {v.id: v.verdict for v in verdicts} == REVIEW
    assert all(v.explanation.endswith(".") and v.source.startswith("review 3.") for v in verdicts)
    said = {v.id: v.explanation for v in verdicts}
    assert "94 of 100 positives and 97 of 100 negatives" in said["brain-rates"]
    assert "0.9118 to 0.9982" in said["brain-rates"]
    assert "2,750" in said["skin-images"]
    assert "scores more: 80.0%" in said["skin-accuracy-melanoma"]
    assert "scores more" not in said["skin-accuracy-naevus"]
    assert "0.8378 to 0.8391" in said["lung-auroc-resnet50"]


@pytest.mark.parametrize(
    ("rates", "verdict"),
    [
        ('{ accuracy = "95.5%", sensitivity = "94%", specificity = "97%" }', "consistent"),
        ('{ accuracy = "96.5%", sensitivity = "94%", specificity = "97%" }', "inconsistent"),
        ('{ accuracy = "95.5%", f1 = "0.98" }', "inconsistent"),
    ],
)
def test_one_test_set(tmp_path, rates, verdict):
    assert check_one(tmp_path, **RATES, rates=rates)[0] == verdict


@pytest.mark.parametrize(("auroc", "verdict"), [("0.98", "consistent"), ("0.90", "inconsistent")])
def test_auroc_beside_an_operating_point(tmp_path, auroc, verdict):
    rates = '{ sensitivity = "94%", specificity = "97%" }'
    assert check_one(tmp_path, **RATES, rates=rates, auroc=f'"{auroc}"')[0] == verdict


def test_what_a_mean_over_folds_cannot_tell_is_named(tmp_path):
    keys = {**RATES, "rates": '{ sensitivity = "0.94", f1 = "0.10" }', "averaged_over_folds": "5", "auroc": '"0.98"'}
    assert check_one(tmp_path, **keys)[1].endswith("Not looked at: f1, AUROC.")


def test_truncated_figures_need_to_be_said(tmp_path):
    keys = {"kind": '"rates"', "positives": "3", "negatives": "3", "rates": '{ sensitivity = "0.66" }'}
    assert check_one(tmp_path, **keys)[0] == "inconsistent"
    assert check_one(tmp_path, **keys, rounding='"truncated"')[0] == "consistent"


@pytest.mark.parametrize(
    ("rates", "folds", "verdict"),
    [
        ('{ sensitivity = "0.945" }', 1, "consistent"),  # 189 of 200 in two rounds
        ('{ sensitivity = "0.945" }', 5, "consistent"),
        ('{ sensitivity = "0.9451" }', 5, "inconsistent"),
        ('{ ppv = "0.945" }', 5, "not checkable"),
        ('{ sensitivity = "0.945" }', 101, "not checkable"),
    ],
)
def test_means_over_folds(tmp_path, rates, folds, verdict):
    keys = {**RATES, "rates": rates, "averaged_over_folds": str(folds), "repeats": "2"}
    assert check_one(tmp_path, **keys)[0] == verdict


@pytest.mark.parametrize(
    ("mean", "count", "values", "verdict"),
    [
        ("0.841", 14, '["0.862", "0.851"]', "consistent"),
        ("0.90", 3, '["0.50"]', "inconsistent"),
        ("0.10", 3, '["0.50"]', "inconsistent"),
        ("0.50", 2, '["0.40", "0.60"]', "consistent"),
        ("0.52", 2, '["0.40", "0.60"]', "inconsistent"),
        ("0.52", 1, '["0.40", "0.60"]', "inconsistent"),
    ],
)
def test_means_over_classes(tmp_path, mean, count, values, verdict):
    assert check_one(tmp_path, kind='"mean"', mean=f'"{mean}"', count=str(count), values=values)[0] == verdict


@pytest.mark.parametrize(
    ("keys", "verdict"),
    [
        ({"total": "6", "parts": "[1, 2, 3]"}, "consistent"),
        ({"total": "7", "parts": "[1, 2, 3]"}, "inconsistent"),
        ({"total": "7", "counted": "8", "counted_in": '"a list"'}, "inconsistent"),
        ({"total": "7", "counted": "7", "counted_in": '"a list"'}, "consistent"),
        ({"total": "7"}, "not checkable"),
    ],
)
def test_totals(tmp_path, keys, verdict):
    assert check_one(tmp_path, kind='"total"', **keys)[0] == verdict


@pytest.mark.parametrize(
    "keys",
    [
        {**RATES, "rates": '{ recall = "0.5" }'},
        {**RATES, "rates": '{ accuracy = "high" }'},
        {**RATES, "rates": "{}"},
        {"kind": '"opinion"'},
    ],
)
def test_a_wrong_file_is_one_readable_line(tmp_path, keys):
    with pytest.raises(SettingsError, match=r"claims\.toml"):
        check_one(tmp_path, **keys)
