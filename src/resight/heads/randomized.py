"""The core of randomised neural networks: a random hidden layer, and output weights in closed form.

Huang, Zhu & Siew 2006 (extreme learning machine), Pao, Park & Sobajic 1994 (random vector functional link) and Schmidt,
Kraaijveld & Duin 1992 differ only in the columns that the output layer sees; everything else is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float, Int, Shaped
from pydantic import Field
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from resight.heads.ridge import fit_ridge
from resight.settings import Options

Activation = Literal["sigmoid", "tanh", "relu", "sin", "hardlim", "rbf"]
Features = Float[np.ndarray, "N F"]
HiddenWeights = Float[np.ndarray, "F H"]
HiddenBias = Float[np.ndarray, " H"]


_validate: Callable[..., Any] = validate_data
"""Typed here because scikit-learn's own annotations are inferred from its defaults, which are strings."""


def _hardlim(z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return (z >= 0).astype(np.float64)


def _relu(z: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    return np.maximum(z, 0.0, out=z)


_ADDITIVE: Mapping[str, Callable[[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]] = {
    "sigmoid": expit,
    "tanh": np.tanh,
    "relu": _relu,
    "sin": np.sin,
    "hardlim": _hardlim,
}


Penalty = Annotated[float, Field(ge=0)]
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
"""What leave-one-out error chooses from unless told otherwise."""


class RandomizedOptions(Options):
    """What all randomised networks can be told."""

    n_hidden: int = Field(default=400, gt=0, description="hidden nodes")
    activation: Activation = Field(default="sigmoid", description="function of a hidden node")
    ridge: Penalty | Annotated[tuple[Penalty, ...], Field(min_length=1)] = Field(
        PENALTIES,
        description="L2 penalty of the output weights; of several, leave-one-out error chooses",
    )
    weight_scale: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="hidden weights are uniform in +-this; auto: pre-activations of standard deviation 1"
    )
    bias_scale: float = Field(default=1.0, ge=0, description="hidden biases are uniform in +-this")
    class_weight: Literal["balanced"] | None = Field(default=None, description="balanced: every class counts the same")


class RandomizedNetwork(ClassifierMixin, BaseEstimator):
    """Base of the three networks: random hidden layer, ridge output layer, probabilities from leave-one-out outputs.

    Features are standardised with the mean and deviation of the training samples. Targets are +-1, one column per
    class (one column in all for two classes).

    Args:
        n_hidden: H, hidden nodes; ignored when `hidden_weights` are given.
        activation: of additive nodes `g(x w + b)`; `rbf` is `exp(-|b| |x - w|^2 / F)`.
        ridge: penalty of the output weights, >= 0; 0 is the pseudo-inverse. Of a sequence the one with the smallest
            leave-one-out squared error is taken.
        weight_scale: hidden weights are uniform in [-scale, scale]; published descriptions use 1, which saturates
            the nodes when there are hundreds of features. `"auto"` is sqrt(3 / F) for additive nodes and 1 for `rbf`.
        bias_scale: hidden biases are uniform in [-scale, scale].
        class_weight: None, `"balanced"` or a mapping from class to weight.
        hidden_weights: `(F, H)` used instead of random ones.
        hidden_bias: `(H,)` used instead of random ones; needed together with `hidden_weights`.
        random_state: seed of the hidden layer.

    Attributes:
        classes_: the classes in order.
        coef_: output weights `(J, K)`.
        intercept_: output bias `(K,)`; zeros without one.
        hidden_weights_: `(F, H)`.
        hidden_bias_: `(H,)`.
        ridge_: the penalty in use.
        loo_errors_: mean squared leave-one-out error of each penalty tried; NaN where it is not defined.
        slope_: factor from output to logit, see `predict_proba`.
    """

    direct_links = False
    """Whether the output layer also sees the features."""
    output_bias = False
    """Whether the outputs have a bias, which is not penalised."""

    def __init__(
        self,
        n_hidden: int = 400,
        *,
        activation: str = "sigmoid",
        ridge: float | tuple[float, ...] = PENALTIES,
        weight_scale: float | str = "auto",
        bias_scale: float = 1.0,
        class_weight: str | Mapping[Any, float] | None = None,
        hidden_weights: HiddenWeights | None = None,
        hidden_bias: HiddenBias | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_hidden = n_hidden
        self.activation = activation
        self.ridge = ridge
        self.weight_scale = weight_scale
        self.bias_scale = bias_scale
        self.class_weight = class_weight
        self.hidden_weights = hidden_weights
        self.hidden_bias = hidden_bias
        self.random_state = random_state

    def fit(
        self, X: Features, y: Shaped[np.ndarray, " N"], sample_weight: Float[np.ndarray, " N"] | None = None
    ) -> RandomizedNetwork:
        """Draw the hidden layer and solve the output layer.

        Args:
            X: features.
            y: class of each sample.
            sample_weight: how many samples each one stands for.

        Raises:
            ValueError: fewer than two classes, an option out of range, or hidden weights of the wrong shape.
        """
        X, y = _validate(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"{type(self).__name__} needs samples of two classes; the data have one class")
        counts = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        per_class = compute_class_weight(self.class_weight, classes=self.classes_, y=y, sample_weight=counts)
        importance = per_class[codes]
        penalties = np.atleast_1d(np.asarray(self.ridge, dtype=np.float64))
        if penalties.ndim != 1 or not len(penalties) or not (penalties >= 0).all():
            raise ValueError(f"ridge = {self.ridge!r}; expected one or several numbers >= 0")

        self._scaler = StandardScaler().fit(X, sample_weight=counts)
        X = np.asarray(self._scaler.transform(X))
        self.hidden_weights_, self.hidden_bias_ = self.draw_hidden_layer(X.shape[1])
        targets = signed_targets(codes, len(self.classes_))
        fits = fit_ridge(
            self.design(X, self.hidden_weights_, self.hidden_bias_),
            targets,
            penalties.tolist(),
            weights=counts * importance,
            # a sample that stands for three leaves one of them out
            unit_weights=np.minimum(counts, 1) * importance,
            intercept=self.output_bias,
            leave_out="one",
        )
        self.loo_errors_ = np.array([_mean_square(fit.left_out - targets, counts * importance) for fit in fits])
        best = fits[0 if np.isnan(self.loo_errors_).all() else int(np.nanargmin(self.loo_errors_))]
        self.ridge_, self.coef_, self.intercept_ = best.penalty, best.coefficients, best.intercept
        self.slope_ = _fit_slope(best.left_out, codes, counts)
        return self

    def decision_function(self, X: Features) -> Float[np.ndarray, "..."]:
        """Network outputs: `(N,)` for two classes (positive: the second), otherwise `(N, K)`.

        An output of -1 or 1 is the target of "no" or "yes"; it is a least-squares estimate, not bounded by either.
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict(self, X: Features) -> Shaped[np.ndarray, " N"]:
        """The class with the largest output."""
        outputs = self._outputs(X)
        best = (outputs[:, 0] > 0).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Features) -> Float[np.ndarray, "N K"]:
        """Softmax of `slope_` times the outputs.

        The slope is the one that gives the leave-one-out outputs of the training samples the smallest log loss
        (temperature scaling, Guo et al. 2017, with the smoothed targets of Platt 1999). Of two classes it keeps the
        order of the outputs, so AUROC is the same. The probabilities are about right for data like the training data;
        one factor cannot undo the shift that class weights bring. Calibrate on a cohort of your own before using them
        as risks.
        """
        return softmax(_logits(self._outputs(X), self.slope_), axis=1)

    def _outputs(self, X: Features) -> Float[np.ndarray, "N K"]:
        check_is_fitted(self)
        X = np.asarray(self._scaler.transform(_validate(self, X, dtype=np.float64, reset=False)))
        return self.design(X, self.hidden_weights_, self.hidden_bias_) @ self.coef_ + self.intercept_

    def design(self, X: Features, weights: HiddenWeights, bias: HiddenBias) -> Float[np.ndarray, "N J"]:
        """What the output layer sees of standardised features, given a hidden layer."""
        hidden = hidden_outputs(X, weights, bias, self.activation)
        return np.hstack([hidden, X]) if self.direct_links else hidden

    def draw_hidden_layer(self, n_features: int) -> tuple[HiddenWeights, HiddenBias]:
        """The hidden layer `fit` will use: the one given, or a random one; the same seed gives the same layer.

        Raises:
            ValueError: a given layer does not fit the features, or no nodes.
        """
        if self.hidden_weights is not None:
            return _given_layer(self.hidden_weights, self.hidden_bias, n_features)
        if self.n_hidden < 1:
            raise ValueError(f"n_hidden = {self.n_hidden}; expected at least 1")
        rng = check_random_state(self.random_state)
        weights = rng.uniform(-1, 1, size=(n_features, self.n_hidden))
        bias = rng.uniform(-1, 1, size=self.n_hidden)
        if self.weight_scale == "auto":
            scale = 1.0 if self.activation == "rbf" else (3 / n_features) ** 0.5
        else:
            scale = float(self.weight_scale)
        return weights * scale, bias * float(self.bias_scale)


def hidden_outputs(X: Features, weights: HiddenWeights, bias: HiddenBias, activation: str) -> Float[np.ndarray, "N H"]:
    """Outputs of the hidden nodes.

    Args:
        X: standardised features.
        weights: one column per node; the centres for `rbf`.
        bias: one per node; its absolute value is the width factor for `rbf`.
        activation: name of the node function.

    Raises:
        ValueError: unknown activation.
    """
    if activation == "rbf":
        squared = (X**2).sum(axis=1)[:, None] - 2 * X @ weights + (weights**2).sum(axis=0)
        # on average |x - w|^2 is about F: the division keeps nodes alive when there are many features
        return np.exp(-np.abs(bias) * np.maximum(squared, 0) / X.shape[1])
    if activation not in _ADDITIVE:
        raise ValueError(f"unknown activation {activation!r}; known: {', '.join([*_ADDITIVE, 'rbf'])}")
    return _ADDITIVE[activation](X @ weights + bias)


def signed_targets(codes: Int[np.ndarray, " N"], n_classes: int) -> Float[np.ndarray, "N K"]:
    """+1 in the column of a sample's class, -1 elsewhere; of two classes one column says it all."""
    if n_classes == 2:
        return np.where(codes == 1, 1.0, -1.0)[:, None]
    return np.where(codes[:, None] == np.arange(n_classes), 1.0, -1.0)


def _given_layer(weights: HiddenWeights, bias: HiddenBias | None, n_features: int) -> tuple[HiddenWeights, HiddenBias]:
    weights = np.asarray(weights, dtype=np.float64)
    if weights.ndim != 2 or weights.shape[0] != n_features:
        raise ValueError(f"hidden_weights of shape {weights.shape}; expected ({n_features}, hidden nodes)")
    if bias is None:
        raise ValueError("hidden_weights without hidden_bias; give both")
    bias = np.asarray(bias, dtype=np.float64)
    if bias.shape != weights.shape[1:]:
        raise ValueError(f"hidden_bias of shape {bias.shape}; expected {weights.shape[1:]}")
    return weights, bias


def _mean_square(errors: Float[np.ndarray, "N K"], weights: Float[np.ndarray, " N"]) -> float:
    used = weights > 0
    return float(np.average((errors[used] ** 2).mean(axis=1), weights=weights[used]))


def _logits(outputs: Float[np.ndarray, "N K"], slope: float) -> Float[np.ndarray, "N K"]:
    """Logits of all classes; a single column is the half difference of two."""
    if outputs.shape[1] == 1:
        return slope * np.hstack([-outputs, outputs])
    return slope * outputs


def _fit_slope(
    left_out: Float[np.ndarray, "N K"], codes: Int[np.ndarray, " N"], counts: Float[np.ndarray, " N"]
) -> float:
    """The factor that makes leave-one-out outputs the best logits; 1 where there are none to tell."""
    used = ~np.isnan(left_out).any(axis=1) & (counts > 0)
    if not used.any():
        return 1.0
    left_out, codes, counts = left_out[used], codes[used], counts[used]
    n_classes = max(2, left_out.shape[1])
    per_class = np.bincount(codes, weights=counts, minlength=n_classes)
    certain = (per_class + 1) / (per_class + 2)
    targets = np.repeat(((1 - certain) / (n_classes - 1))[codes][:, None], n_classes, axis=1)
    targets[np.arange(len(codes)), codes] = certain[codes]

    def log_loss(log_slope: float) -> float:
        return -float(counts @ (targets * log_softmax(_logits(left_out, np.exp(log_slope)), axis=1)).sum(axis=1))

    found: Any = minimize_scalar(log_loss, bounds=(np.log(1e-3), np.log(1e3)), method="bounded")
    return float(np.exp(found.x))
