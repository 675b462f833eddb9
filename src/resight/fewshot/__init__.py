"""Few labels and none: episodes, rare findings, and labels known by their description alone."""

from resight.fewshot.base import FEWSHOT, FewShotClassifier
from resight.fewshot.cohort_features import CohortFeatures, cohort_features
from resight.fewshot.descriptions import encode, read_descriptions
from resight.fewshot.episodes import Episode, EpisodeOptions, EpisodeResult, draw_episode, run_episodes
from resight.fewshot.rare_labels import RareLabel, rare_labels
from resight.fewshot.zero_shot import (
    Compatibility,
    UnseenLabel,
    ZeroShotOptions,
    ZeroShotResult,
    fit_compatibility,
    leave_one_label_out,
)

__all__ = [
    "FEWSHOT",
    "CohortFeatures",
    "Compatibility",
    "Episode",
    "EpisodeOptions",
    "EpisodeResult",
    "FewShotClassifier",
    "RareLabel",
    "UnseenLabel",
    "ZeroShotOptions",
    "ZeroShotResult",
    "cohort_features",
    "draw_episode",
    "encode",
    "fit_compatibility",
    "leave_one_label_out",
    "rare_labels",
    "read_descriptions",
    "run_episodes",
]
