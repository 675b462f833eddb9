"""Reading an experiment file: every key is checked before the first image is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from resight.backbones import BACKBONES
from resight.experiments.settings import ExperimentSettings
from resight.heads import HEADS
from resight.models import build_classifier
from resight.multimodal import FUSIONS, STEMS
from resight.registry import Registry
from resight.settings import load_toml, place_of, validate
from resight.training import LOSSES, OBJECTIVES

Experiment = TypeVar("Experiment", bound=ExperimentSettings)


def load_experiment(
    path: str | Path,
    overrides: Iterable[str] = (),
    model: type[Experiment] = ExperimentSettings,
) -> Experiment:
    """Read an experiment file, and check the options of every part that it names.

    Args:
        path: TOML file.
        overrides: `section.key=value` strings.
        model: the settings class, where an experiment has more sections than the usual ones.

    Raises:
        SettingsError: file and line, or `--set`, and what is wrong there.
    """
    path = Path(path)
    given = list(overrides)
    settings = load_toml(path, model, given)
    text = path.read_text(encoding="utf-8-sig")

    def check(registry: Registry[Any], name: str, options: Mapping[str, Any], *below: str) -> None:
        section = below[:-1] if below[-1] == "options" else below
        place = place_of([*section, "name"], where=str(path), text=text, overridden=given)
        member = registry.member(name, where=place)
        validate(member.options, options, where=str(path), text=text, below=below, overridden=given)

    parts = {"backbone": BACKBONES, "head": HEADS, "fusion": FUSIONS, "stem": STEMS}
    for part, registry in parts.items():
        if (named := getattr(settings.model, part)) is not None:
            options = dict(named)
            check(registry, options.pop("name"), options, "model", part)
    if settings.model.exits.after:
        _check_exits(settings)
    loss = settings.training.loss
    if loss.name != "auto":
        check(LOSSES, loss.name, loss.options, "training", "loss", "options")
    objective = settings.training.objective
    check(OBJECTIVES, objective.name, objective.options, "training", "objective", "options")
    return settings


def _check_exits(settings: ExperimentSettings) -> None:
    """Build the network without memory or weights, so that a stage that is not there is told before images are read."""
    with torch.device("meta"):
        model = settings.model.model_copy(update={"weights": None})
        recipe = settings.recipe
        build_classifier(model, labels=("any",), channels=recipe.channels, dims=len(recipe.size_px))
