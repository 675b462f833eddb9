"""The classical classifiers a study is compared with, each behind its own standardisation of the features.

Every one is a scikit-learn pipeline with `predict_proba`; support vector machines get theirs from Platt scaling on
held-out folds.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from resight.heads.base import CLASSIFIERS
from resight.settings import Options

ClassWeight = Literal["balanced"] | None


class LinearSVMOptions(Options):
    """Linear support vector machine."""

    C: float = Field(
        default=0.01, gt=0, description="inverse strength of the L2 penalty; small suits hundreds of features"
    )
    class_weight: ClassWeight = Field(default=None, description="balanced: every class counts the same")
    calibration_folds: int = Field(default=5, ge=2, description="folds the probabilities are calibrated on")


class RBFSVMOptions(Options):
    """Support vector machine with a Gaussian kernel."""

    C: float = Field(default=1.0, gt=0, description="inverse strength of the penalty")
    gamma: float | Literal["scale"] = Field(
        default="scale", description="width factor; scale: 1 / (features * variance)"
    )
    class_weight: ClassWeight = Field(default=None, description="balanced: every class counts the same")
    calibration_folds: int = Field(default=5, ge=2, description="folds the probabilities are calibrated on")


class RandomForestOptions(Options):
    """Random forest."""

    trees: int = Field(default=500, gt=0, description="number of trees")
    min_samples_leaf: int = Field(default=1, gt=0, description="samples a leaf holds at least")
    class_weight: ClassWeight = Field(default=None, description="balanced: every class counts the same")


class NearestNeighboursOptions(Options):
    """Nearest neighbours in standardised feature space."""

    neighbours: int = Field(default=5, gt=0, description="neighbours that vote")
    weights: Literal["uniform", "distance"] = Field(default="distance", description="how votes are weighted")


class LogisticRegressionOptions(Options):
    """Logistic regression with an L2 penalty; the same as a softmax layer trained to the end."""

    C: float = Field(default=0.1, gt=0, description="inverse strength of the L2 penalty")
    class_weight: ClassWeight = Field(default=None, description="balanced: every class counts the same")
    max_iterations: int = Field(default=2000, gt=0, description="steps of the solver")


@CLASSIFIERS.register("linear-svm", LinearSVMOptions)
def _linear_svm(options: LinearSVMOptions, *, seed: int) -> Pipeline:
    machine = LinearSVC(C=options.C, class_weight=options.class_weight, random_state=seed, max_iter=20_000)
    return make_pipeline(StandardScaler(), _calibrated(machine, options.calibration_folds))


@CLASSIFIERS.register("rbf-svm", RBFSVMOptions)
def _rbf_svm(options: RBFSVMOptions, *, seed: int) -> Pipeline:
    machine = SVC(C=options.C, class_weight=options.class_weight, random_state=seed)
    machine.set_params(gamma=options.gamma)
    return make_pipeline(StandardScaler(), _calibrated(machine, options.calibration_folds))


@CLASSIFIERS.register("random-forest", RandomForestOptions)
def _random_forest(options: RandomForestOptions, *, seed: int) -> Pipeline:
    forest = RandomForestClassifier(
        options.trees,
        min_samples_leaf=options.min_samples_leaf,
        class_weight=options.class_weight,
        random_state=seed,
    )
    return make_pipeline(StandardScaler(), forest)


@CLASSIFIERS.register("nearest-neighbours", NearestNeighboursOptions)
def _nearest_neighbours(options: NearestNeighboursOptions, *, seed: int) -> Pipeline:
    del seed  # nothing in it is random
    return make_pipeline(StandardScaler(), KNeighborsClassifier(options.neighbours, weights=options.weights))


@CLASSIFIERS.register("logistic-regression", LogisticRegressionOptions)
def _logistic_regression(options: LogisticRegressionOptions, *, seed: int) -> Pipeline:
    regression = LogisticRegression(
        C=options.C, class_weight=options.class_weight, max_iter=options.max_iterations, random_state=seed
    )
    return make_pipeline(StandardScaler(), regression)


def _calibrated(machine: LinearSVC | SVC, folds: int) -> CalibratedClassifierCV:
    """The machine fitted on everything, its scores mapped by a sigmoid that never saw their own sample."""
    calibrated = CalibratedClassifierCV(machine, method="sigmoid", cv=folds)
    return calibrated.set_params(ensemble=False)
