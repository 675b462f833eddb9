"""What needs no network to be trained: a linear probe on features, and what age and sex add to any model's scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from resight.evaluation import auroc
from resight.protocols.isic2017_networks import Answers
from resight.training.validate import Features
from resight.types import Cohort, Scores

FOLDS = 5
_WEIGHTS = np.linspace(0, 2, 21)
_AGE_YEARS = (50.0, 20.0)
"""Roughly the mean and the spread of the ages, so that the penalty weighs age and sex alike."""


def linear_probe(name: str, features: Features, cohort: Cohort, *, inverse_penalty: float, seed: int) -> Answers:
    """Logistic regression on standardised features, averaged over views; training images are answered out of fold.

    Args:
        name: for tables.
        features: of all images.
        cohort: the same images.
        inverse_penalty: scikit-learn's C.
        seed: of the folds.
    """
    train, classes = _training(cohort)
    logits = np.empty((len(cohort), len(cohort.labels)))

    def answer(fitted: Pipeline, rows: Int[np.ndarray, " n"]) -> Scores:
        flat = features[rows].reshape(-1, features.shape[2])
        return fitted.predict_log_proba(flat).reshape(len(rows), features.shape[1], -1).mean(axis=1)

    def fit(rows: Int[np.ndarray, " n"]) -> Pipeline:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=1000))
        return model.fit(features[rows].mean(axis=1), classes[rows])

    others = np.setdiff1d(np.arange(len(cohort)), train)
    logits[others] = answer(fit(train), others)
    for seen, unseen in _folds(train, classes, seed):
        logits[unseen] = answer(fit(seen), unseen)
    return Answers(name, logits, out_of_fold=True)


def clinical_evidence(cohort: Cohort, *, seed: int) -> Scores:
    """What age and sex say: log P(class | age, sex) - log P(class); training images out of fold.

    Unknown age and unknown sex are states of their own.
    """
    train, classes = _training(cohort)
    design = _design(cohort.table)
    evidence = np.empty((len(cohort), len(cohort.labels)))

    def answer(seen: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"]) -> Scores:
        model = LogisticRegression(max_iter=1000).fit(design[seen], classes[seen])
        share = np.bincount(classes[seen], minlength=len(cohort.labels)) / len(seen)
        return model.predict_log_proba(design[rows]) - np.log(share)

    others = np.setdiff1d(np.arange(len(cohort)), train)
    evidence[others] = answer(train, others)
    for seen, unseen in _folds(train, classes, seed):
        evidence[unseen] = answer(seen, unseen)
    return evidence


def fusion_weight(answers: Answers, evidence: Scores, cohort: Cohort) -> float:
    """The weight of age and sex that ranks the training images best by the official metric.

    Args:
        answers: a model whose answers for training images are out of fold.
        evidence: of `clinical_evidence`.
        cohort: the images of both.

    Raises:
        ValueError: the answers are not out of fold.
    """
    if not answers.out_of_fold:
        raise ValueError(f"{answers.name}: answers for training images must be out of fold")
    train, classes = _training(cohort)
    values = [
        sum(
            auroc(classes[train] == k, softmax(answers.logits[train] + w * evidence[train], axis=1)[:, k]).value
            for k in (0, 1)
        )
        for w in _WEIGHTS
    ]
    return float(_WEIGHTS[int(np.argmax(values))])


def fused(name: str, answers: Answers, evidence: Scores, weight: float) -> Answers:
    """A model's answers with age and sex added."""
    return Answers(name, answers.logits + weight * evidence, answers.out_of_fold, details={"clinical_weight": weight})


def _training(cohort: Cohort) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " N"]]:
    """Rows of the training images, and the class of every image (-1 where it is not known)."""
    targets = cohort.targets()
    known = cohort.mask().all(axis=1)
    classes = np.where(known, np.nan_to_num(targets).argmax(axis=1), -1)
    return np.flatnonzero((cohort.table["split"] == "train").to_numpy() & known), classes


def _folds(
    train: Int[np.ndarray, " n"], classes: Int[np.ndarray, " N"], seed: int
) -> list[tuple[Int[np.ndarray, " m"], Int[np.ndarray, " k"]]]:
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    return [(train[seen], train[unseen]) for seen, unseen in splitter.split(train, classes[train])]


def _design(table: pd.DataFrame) -> Float[np.ndarray, "N F"]:
    centre, spread = _AGE_YEARS
    age, sex = table["age"].to_numpy(dtype=float), table["sex"]
    years = np.nan_to_num((age - centre) / spread)
    return np.stack([years, years**2, np.isnan(age), sex == "male", sex.isna()], axis=1).astype(float)
