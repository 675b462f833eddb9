"""Figures of the brain study: metrics of every split, their means, and tests of differences between methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

import numpy as np
import pandas as pd

from resight.evaluation import auroc, holm
from resight.evaluation.resampled import ResampledTTest, corrected_resampled_t_test
from resight.protocols.brain_data import BrainImages, Design
from resight.protocols.brain_heads import CLASSICAL, RANDOMISED, Outcome, methods, reference, searched
from resight.protocols.brain_networks import Source
from resight.protocols.study import signed
from resight.training.hidden_search import SearchMode
from resight.types import MetricValue

Metric = Literal["accuracy", "sensitivity", "specificity", "AUROC"]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
COMPARED: Final[tuple[Metric, ...]] = ("accuracy", "AUROC")
LEVEL: Final = 0.05
_THRESHOLD = 0.5
_SHORT: Final[Mapping[Source, str]] = {
    "plain": "plain script",
    "trained": "ResNet-18",
    "folded": "ResNet-18 of every fold",
    "tuned": "ResNet-50 from CT",
    "frozen": "frozen ResNet-18",
    "ct": "frozen ResNet-50 from CT",
}


@dataclass(frozen=True)
class Part:
    """One way of dividing the images with one source of features, and what came of it.

    Attributes:
        images: the cohort.
        source: where the features come from.
        outcomes: one per split.
        modes: what the bats moved.
        network: what the features are of, in words.
    """

    images: BrainImages
    source: Source
    outcomes: Sequence[Outcome]
    modes: tuple[SearchMode, ...]
    network: str

    @property
    def design(self) -> Design:
        """How the images were divided."""
        return self.outcomes[0].split.design

    @property
    def held_out(self) -> bool:
        """Whether a part of the images was held out, rather than all tested in turn."""
        return self.design in ("hold-out", "random hold-out")

    @property
    def repeated(self) -> bool:
        """Whether there is more than one split, so that differences can be tested."""
        return len(self.outcomes) > 1

    @property
    def short(self) -> str:
        """Heading of a column or panel."""
        images = len(self.outcomes[0].split.learn) + len(self.outcomes[0].split.test)
        divided = self.design if self.held_out else f"cross-validation of {images}"
        return f"{divided}, {_SHORT[self.source]}"

    @property
    def title(self) -> str:
        """Heading in the study page."""
        first = self.outcomes[0].split
        rounds = len({o.split.round for o in self.outcomes})
        images = len(first.learn) + len(first.test)
        if self.held_out:
            parted = "" if self.design == "hold-out" else ", look-alikes on both sides"
            divided = f"{rounds} hold-out{'s' if rounds > 1 else ''} of {images} images{parted}"
        else:
            folds = len(self.outcomes) // rounds
            drawn = "" if self.design == "cross-validation" else ", drawn anew each time"
            divided = f"{rounds} x {folds}-fold cross-validation of {images} images{drawn}"
        return f"{divided}, {self.network}"

    @property
    def methods(self) -> list[str]:
        """All methods in the order of the tables."""
        return methods(self.source, self.modes)

    @cached_property
    def sizes(self) -> tuple[int, int]:
        """Mean number of independent groups that learn, and that judge; single images where look-alikes are parted."""
        groups = self.images.groups if self.design != "random hold-out" else np.arange(len(self.images.groups))
        counts = [(len(np.unique(groups[o.split.learn])), len(np.unique(groups[o.split.test]))) for o in self.outcomes]
        learn, judge = np.mean(counts, axis=0)
        return round(float(learn)), round(float(judge))

    @cached_property
    def measured(self) -> Mapping[str, pd.DataFrame]:
        """Method -> one row per split, one column per metric."""
        return {name: pd.DataFrame([self._measure(name, o) for o in self.outcomes]) for name in self.methods}

    def mean(self, method: str, metric: Metric) -> MetricValue:
        """Mean over the splits; its interval allows for training sets that overlap."""
        values = self.measured[method][metric].to_numpy()
        test = self._test(values, np.zeros(len(values)))
        if test.undefined_because:
            return MetricValue(test.difference, n=len(values))
        low, high = max(test.low, 0.0), min(test.high, 1.0)
        return MetricValue(test.difference, low, high, len(values), interval="corrected resampled t")

    def deviation(self, method: str, metric: Metric) -> float:
        """Standard deviation over the splits; NaN for a single one."""
        values = self.measured[method][metric].to_numpy()
        return float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")

    def seconds(self, method: str) -> float:
        """Mean fitting time."""
        return float(np.mean([o.seconds[method] for o in self.outcomes]))

    def majority(self) -> dict[Metric, float]:
        """What always answering with the larger learning class reaches."""
        targets = self.images.targets
        answers = [float(targets[o.split.learn].mean() > _THRESHOLD) for o in self.outcomes]
        right = [np.mean(targets[o.split.test] == a) for o, a in zip(self.outcomes, answers, strict=True)]
        positive = float(np.mean(answers))
        return {
            "accuracy": float(np.mean(right)),
            "sensitivity": positive,
            "specificity": 1 - positive,
            "AUROC": 0.5,
        }

    def against_softmax(self) -> list[Compared]:
        """Every other method less the softmax layer, corrected over all of them."""
        softmax = reference(self.source)
        return self._compared([(name, softmax) for name in self.methods if name != softmax])

    def bats_against_plain(self) -> list[Compared]:
        """Every searched head less the same head without, corrected over all of them."""
        return self._compared([(searched(head, mode), head) for head in RANDOMISED for mode in self.modes])

    def less(self, other: Part, metric: Metric) -> ResampledTTest:
        """The softmax layer less that of another network, on the first splits, which both were tested on."""
        mine, others = (p.measured[reference(p.source)][metric].to_numpy() for p in (self, other))
        shared = min(len(mine), len(others))
        return self._test(mine[:shared], others[:shared])

    def _compared(self, pairs: Sequence[tuple[str, str]]) -> list[Compared]:
        found: list[Compared] = []
        for metric in COMPARED:
            tests = [
                self._test(self.measured[a][metric].to_numpy(), self.measured[b][metric].to_numpy()) for a, b in pairs
            ]
            corrected = holm([test.p for test in tests])
            found += [Compared(a, b, metric, t, p) for (a, b), t, p in zip(pairs, tests, corrected, strict=True)]
        return found

    def _test(self, first: np.ndarray, second: np.ndarray) -> ResampledTTest:
        learn, judge = self.sizes
        return corrected_resampled_t_test(first, second, n_train=learn, n_test=judge)

    def _measure(self, method: str, outcome: Outcome) -> dict[Metric, float]:
        positive = self.images.targets[outcome.split.test] == 1
        probabilities = outcome.probabilities[method].to_numpy()
        called = probabilities >= _THRESHOLD
        return {
            "accuracy": float((called == positive).mean()),
            "sensitivity": float(called[positive].mean()),
            "specificity": float((~called[~positive]).mean()),
            "AUROC": auroc(positive, probabilities).value,
        }


def against_plain_script(parts: Sequence[Part]) -> list[Compared]:
    """The softmax layer of every network less that of the plain script, on the splits that both were tested on.

    Args:
        parts: those of designs in which no plain script was trained, or in a single split, are left away.
    """
    scripts = {part.design: part for part in parts if part.source == "plain" and part.repeated}
    pairs = [(p, scripts[p.design]) for p in parts if p.source != "plain" and p.design in scripts and p.repeated]
    found: list[Compared] = []
    for metric in COMPARED:
        tests = [part.less(script, metric) for part, script in pairs]
        corrected = holm([test.p for test in tests])
        found += [
            Compared(part.network, script.network, metric, test, p)
            for (part, script), test, p in zip(pairs, tests, corrected, strict=True)
        ]
    return found


@dataclass(frozen=True)
class Compared:
    """Difference of two methods over the splits of a part, or of two networks over those they share.

    Attributes:
        first: method, or network.
        second: what is subtracted.
        metric: of which the difference is.
        test: corrected resampled t-test.
        p_holm: corrected for the other comparisons of its kind with the same metric.
    """

    first: str
    second: str
    metric: Metric
    test: ResampledTTest
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below the level."""
        return self.p_holm < LEVEL

    @property
    def value(self) -> MetricValue:
        """The difference with its interval."""
        return MetricValue(self.test.difference, self.test.low, self.test.high, self.test.splits)

    @property
    def in_words(self) -> str:
        """The difference with its sign, and its interval or why it has none."""
        reason = f" (no interval: {self.test.undefined_because})" if self.test.undefined_because else ""
        return f"{signed(self.value)}{reason}"

    @property
    def randomised(self) -> bool:
        """Whether the first method is a randomised head without any search."""
        return self.first in RANDOMISED

    @property
    def classical(self) -> bool:
        """Whether the first method is a classical classifier."""
        return self.first in CLASSICAL
