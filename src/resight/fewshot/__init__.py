"""Few labels and none: episodes, rare findings, and labels known by their description alone."""

from resight.fewshot.base import FEWSHOT, FewShotClassifier
from resight.fewshot.cohort_features import CohortFeatures, cohort_features
from resight.fewshot.descriptions import encode, read_descriptions
from resight.fewshot.episodes import Episode, EpisodeOptions, EpisodeResult, draw_episode, run_episodes
from resight.fewshot.finetune import Finetuned, FinetuneOptions, finetune
from resight.fewshot.image_text import (
    DescribedLabel,
    ImageEncoder,
    ImageEncoderOptions,
    judge_descriptions,
    read_embeddings,
)
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
    "DescribedLabel",
    "Episode",
    "EpisodeOptions",
    "EpisodeResult",
    "FewShotClassifier",
    "FinetuneOptions",
    "Finetuned",
    "ImageEncoder",
    "ImageEncoderOptions",
    "RareLabel",
    "UnseenLabel",
    "ZeroShotOptions",
    "ZeroShotResult",
    "cohort_features",
    "draw_episode",
    "encode",
    "finetune",
    "fit_compatibility",
    "judge_descriptions",
    "leave_one_label_out",
    "rare_labels",
    "read_descriptions",
    "read_embeddings",
    "run_episodes",
]
