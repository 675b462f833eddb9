"""Hidden layers of randomised networks found by the chaotic bat algorithm (after Lu, Wang & Zhang 2020).

The fitness of a hidden layer is the error of its outputs on left-out training samples, in closed form: one Cholesky
factor per bat gives every left-out prediction. Nothing but the training samples handed in is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.base import clone
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from resight.heads.randomized import Activation, RandomizedNetwork, signed_targets
from resight.heads.ridge import fit_ridge
from resight.training.bat_search import BatOptions, Bounds, SearchResult, minimize

SearchMode = Literal["all", "scales", "hyperparameters"]
Criterion = Literal["squared", "wrong"]


@dataclass(frozen=True)
class HiddenSearch:
    """A network fitted with what the search found.

    Attributes:
        estimator: fitted on all samples that were handed in.
        fitness: its error on left-out samples; never above `fitness_before`. It was searched for, so it is optimistic.
        fitness_before: the same for the estimator as it came.
        result: position and history of the search.
    """

    estimator: RandomizedNetwork
    fitness: float
    fitness_before: float
    result: SearchResult


def search_hidden(
    estimator: RandomizedNetwork,
    X: Float[np.ndarray, "N F"],
    y: Shaped[np.ndarray, " N"],
    groups: Shaped[np.ndarray, " N"] | None = None,
    *,
    mode: SearchMode = "all",
    bats: BatOptions | None = None,
    criterion: Criterion = "squared",
    folds: int = 5,
    seed: int = 0,
) -> HiddenSearch:
    """Search for a hidden layer and fit the network with it.

    Args:
        estimator: ELM, RVFL or Schmidt network; where the search starts from. It is not changed.
        X: features of the training samples.
        y: their classes.
        groups: patient of each sample. With groups, whole folds of patients are left out; without, single samples.
        mode: what is searched: `all` hidden weights and biases (F * H + H numbers: with hundreds of features this is
            far more than a bat search can settle); the `scales` of weights and biases, and the ridge; or the
            `hyperparameters`: number of nodes, activation, scale of the weights and ridge.
        bats: settings of the search.
        criterion: `squared` error of the outputs, or share of `wrong` classes, both weighted by class weights.
        folds: folds of patients.
        seed: seed of the search, of the folds, and of hidden layers where the estimator has none.

    Raises:
        ValueError: fewer patients than folds in the smallest class, or X and y do not fit the estimator.
    """
    X, y = np.asarray(X, dtype=np.float64), np.asarray(y)
    if estimator.random_state is None:
        estimator = _changed(estimator, random_state=seed)
    space = _SPACES[mode](_changed(estimator).fit(X, y))
    classes, codes = np.unique(y, return_inverse=True)
    fitness = LeftOutError(
        features=np.asarray(StandardScaler().fit_transform(X)),
        targets=signed_targets(codes, len(classes)),
        weights=compute_sample_weight(estimator.class_weight, y),
        leave_out="one" if groups is None else _folds(codes, np.asarray(groups), folds, seed),
        criterion=criterion,
    )

    def objective(positions: Float[np.ndarray, "B D"]) -> Float[np.ndarray, " B"]:
        return np.array([fitness(_changed(estimator, **space.decode(p))) for p in positions])

    before = fitness(estimator)
    result = minimize(objective, space.low, space.high, bats or BatOptions(), seed=seed, first=space.start)
    found = _changed(estimator, **(space.decode(result.position) if result.value < before else {}))
    error, ridge = fitness.with_ridge(found)
    return HiddenSearch(found.set_params(ridge=ridge).fit(X, y), error, before, result)


def _changed(network: RandomizedNetwork, **parameters: Any) -> RandomizedNetwork:
    """An unfitted copy with other parameters."""
    return cast("RandomizedNetwork", clone(network)).set_params(**parameters)


@dataclass(frozen=True)
class LeftOutError:
    """Error of a network's outputs on left-out samples; the smallest over its ridge penalties.

    Attributes:
        features: standardised features of the training samples.
        targets: +-1, see `signed_targets`.
        weights: weight of each sample, > 0.
        leave_out: single samples (`"one"`), or the fold of each sample.
        criterion: mean `squared` error, or share of `wrong` classes.
    """

    features: Float[np.ndarray, "N F"]
    targets: Float[np.ndarray, "N K"]
    weights: Float[np.ndarray, " N"]
    leave_out: Literal["one"] | Int[np.ndarray, " N"]
    criterion: Criterion

    def __call__(self, network: RandomizedNetwork) -> float:
        """The error, infinite where a left-out prediction is not defined."""
        return self.with_ridge(network)[0]

    def with_ridge(self, network: RandomizedNetwork) -> tuple[float, float]:
        """The error and the penalty that has it."""
        weights, bias = network.draw_hidden_layer(self.features.shape[1])
        fits = fit_ridge(
            network.design(self.features, weights, bias),
            self.targets,
            np.atleast_1d(np.asarray(network.ridge, dtype=np.float64)).tolist(),
            weights=self.weights,
            intercept=network.output_bias,
            leave_out=self.leave_out,
        )
        return min((self._error(fit.left_out), fit.penalty) for fit in fits)

    def _error(self, left_out: Float[np.ndarray, "N K"]) -> float:
        if np.isnan(left_out).any():
            return np.inf
        if self.criterion == "squared":
            errors = ((left_out - self.targets) ** 2).mean(axis=1)
        elif left_out.shape[1] == 1:
            errors = (left_out * self.targets <= 0)[:, 0]
        else:
            errors = left_out.argmax(axis=1) != self.targets.argmax(axis=1)
        return float(np.average(errors, weights=self.weights))


@dataclass(frozen=True)
class _Space:
    """Bounds of the search, where it starts, and what a position means."""

    low: Bounds
    high: Bounds
    start: Bounds
    decode: Callable[[Bounds], dict[str, Any]]


_DRAWN = {"hidden_weights": None, "hidden_bias": None}


def _all(fitted: RandomizedNetwork) -> _Space:
    weights, bias = fitted.hidden_weights_, fitted.hidden_bias_
    start = np.concatenate([weights.ravel(), bias])
    # as far as a random layer of this scale could reach
    limit = np.repeat([np.abs(weights).max(), max(np.abs(bias).max(), 1e-3)], [weights.size, bias.size])

    def decode(position: Bounds) -> dict[str, Any]:
        return {
            "hidden_weights": position[: weights.size].reshape(weights.shape),
            "hidden_bias": position[weights.size :],
        }

    return _Space(-limit, limit, start, decode)


def _scales(fitted: RandomizedNetwork) -> _Space:
    weights = _weight_scales(fitted)

    def decode(position: Bounds) -> dict[str, Any]:
        weight_scale, bias_scale, ridge = (10.0**position).tolist()
        return {**_DRAWN, "weight_scale": weight_scale, "bias_scale": bias_scale, "ridge": ridge}

    low, start, high = np.transpose([weights, _powers(1e-2, fitted.bias_scale, 1e2), _ridges(fitted)])
    return _Space(low, high, start, decode)


def _hyperparameters(fitted: RandomizedNetwork) -> _Space:
    activations = get_args(Activation)
    nodes = fitted.hidden_weights_.shape[1]
    activation = (0.0, activations.index(fitted.activation) + 0.5, float(len(activations)))

    def decode(position: Bounds) -> dict[str, Any]:
        return {
            **_DRAWN,
            "n_hidden": round(10.0 ** position[0]),
            "activation": activations[min(int(position[1]), len(activations) - 1)],
            "weight_scale": float(10.0 ** position[2]),
            "ridge": float(10.0 ** position[3]),
        }

    low, start, high = np.transpose(
        [_powers(max(nodes / 8, 1), nodes, nodes * 2), activation, _weight_scales(fitted), _ridges(fitted)]
    )
    return _Space(low, high, start, decode)


def _weight_scales(fitted: RandomizedNetwork) -> tuple[float, float, float]:
    """Two powers of ten around the scale that gives pre-activations of standard deviation 1."""
    unit = (3 / len(fitted.hidden_weights_)) ** 0.5
    return _powers(unit / 100, float(np.abs(fitted.hidden_weights_).max()), unit * 100)


def _ridges(fitted: RandomizedNetwork) -> tuple[float, float, float]:
    return _powers(1e-6, fitted.ridge_, 1e4)


def _powers(low: float, start: float, high: float) -> tuple[float, float, float]:
    """Lower bound, start and upper bound as powers of ten."""
    low, start, high = np.log10([low, min(max(start, low), high), high]).tolist()
    return low, start, high


_SPACES: dict[SearchMode, Callable[[RandomizedNetwork], _Space]] = {
    "all": _all,
    "scales": _scales,
    "hyperparameters": _hyperparameters,
}


def _folds(
    codes: Int[np.ndarray, " N"], groups: Shaped[np.ndarray, " N"], folds: int, seed: int
) -> Int[np.ndarray, " N"]:
    patients = min(len(np.unique(groups[codes == code])) for code in np.unique(codes))
    if patients < folds:
        raise ValueError(f"the smallest class has {patients} patients; {folds} folds need as many")
    assigned = np.empty(len(codes), dtype=np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for number, (_, out) in enumerate(splitter.split(np.zeros((len(codes), 1)), codes, groups)):
        assigned[out] = number
    return assigned
