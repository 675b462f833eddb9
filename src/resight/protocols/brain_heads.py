"""Every head and classifier of the brain study, fitted on the features of one split and asked for its test images."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import expit

from resight.heads import CLASSIFIERS
from resight.heads.randomized import RandomizedNetwork
from resight.protocols.brain_data import BrainImages, Split
from resight.protocols.brain_networks import TRAINED, Extracted, Source
from resight.settings import write_json
from resight.training.bat_search import BatOptions
from resight.training.hidden_search import SearchMode, search_hidden

RANDOMISED: Final = ("elm", "rvfl", "snn")
CLASSICAL: Final = ("logistic-regression", "linear-svm", "rbf-svm", "random-forest", "nearest-neighbours")
NETWORK: Final = "softmax layer"
"""The trained network's own output: with two classes a softmax layer is one logistic unit."""
_SEARCHED: Final[Mapping[SearchMode, str]] = {
    "all": "bats on weights",
    "scales": "bats on scales",
    "hyperparameters": "bats on hyperparameters",
}


def searched(head: str, mode: SearchMode) -> str:
    """Name of a randomised head whose hidden layer the bats searched for."""
    return f"{head} + {_SEARCHED[mode]}"


def reference(source: Source) -> str:
    """The softmax layer that heads are compared with; on frozen features logistic regression is that layer."""
    return NETWORK if source in TRAINED else CLASSICAL[0]


@dataclass(frozen=True)
class Fitting:
    """How heads are fitted.

    Attributes:
        n_hidden: hidden nodes of randomised heads.
        bats: settings of the search.
        modes: what the search moves, one variant each.
        trees: of the random forest.
        seed: of hidden layers and searches.
    """

    n_hidden: int
    bats: BatOptions
    modes: tuple[SearchMode, ...]
    trees: int
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What all methods say of one split's test images.

    Attributes:
        split: which one.
        probabilities: of `abnormal`; one column a method, rows as in `split.test`.
        seconds: fitting time of each method; of the network its training time.
        courses: for each searched head the smallest fitness after each generation, the head as it came first.
    """

    split: Split
    probabilities: pd.DataFrame
    seconds: dict[str, float]
    courses: dict[str, list[float]]


def judge_split(
    images: BrainImages, split: Split, found: Extracted, source: Source, fitting: Fitting, folder: Path
) -> Outcome:
    """Fit everything on the learning part of a split and predict its test part, or read what was kept of that.

    Args:
        images: targets, and clusters for the fitness of the search.
        split: which rows learn and which judge.
        found: features of all images.
        source: where the features come from.
        fitting: how heads are fitted.
        folder: outcomes are kept there.
    """
    table, rest = (folder / f"{source}-{split.name}{suffix}" for suffix in (".csv", ".json"))
    if rest.exists():
        kept = json.loads(rest.read_text(encoding="utf-8"))
        return Outcome(split, pd.read_csv(table, index_col="row"), kept["seconds"], kept["courses"])
    columns: dict[str, Float[np.ndarray, " n"]] = {}
    seconds: dict[str, float] = {}
    courses: dict[str, list[float]] = {}
    if source in TRAINED:
        columns[NETWORK], seconds[NETWORK] = expit(found.logits[split.test]), found.seconds
    began = time.perf_counter()
    for name, model, course in _fitted(images, split, found.learned_from(split), fitting):
        seconds[name] = time.perf_counter() - began
        columns[name] = model.predict_proba(found.features[split.test].astype(np.float64))[:, 1]
        if course:
            courses[name] = course
        began = time.perf_counter()
    outcome = Outcome(split, pd.DataFrame(columns, index=pd.Index(split.test, name="row")), seconds, courses)
    folder.mkdir(parents=True, exist_ok=True)
    outcome.probabilities.to_csv(table, float_format="%.6g", lineterminator="\n")
    write_json(rest, {"seconds": seconds, "courses": courses})  # last: its presence says that both are whole
    return outcome


def methods(source: Source, modes: Sequence[SearchMode]) -> list[str]:
    """Names of all methods in the order of the tables."""
    heads = [name for head in RANDOMISED for name in (head, *(searched(head, mode) for mode in modes))]
    return [*([NETWORK] if source in TRAINED else []), *heads, *CLASSICAL]


def _fitted(
    images: BrainImages, split: Split, features: Float[np.ndarray, "n F"], fitting: Fitting
) -> Iterator[tuple[str, Any, list[float]]]:
    X, y, groups = features.astype(np.float64), images.targets[split.learn], images.groups[split.learn]
    seed = fitting.seed + 100 * split.round + split.fold
    for head in RANDOMISED:
        network = cast("RandomizedNetwork", CLASSIFIERS.build(head, {"n_hidden": fitting.n_hidden}, seed=seed))
        yield head, network.fit(X, y), []
        for mode in fitting.modes:
            search = search_hidden(network, X, y, groups, mode=mode, bats=fitting.bats, seed=seed)
            course = [search.fitness_before, *(min(g.best, search.fitness_before) for g in search.result.history)]
            yield searched(head, mode), search.estimator, course
    for name in CLASSICAL:
        options = {"trees": fitting.trees} if name == "random-forest" else {}
        yield name, CLASSIFIERS.build(name, options, seed=seed).fit(X, y), []
