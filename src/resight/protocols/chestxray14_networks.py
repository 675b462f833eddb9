"""Networks of the ChestX-ray14 study by name: which backbone, and the weights it begins with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import torch
from safetensors.torch import save_file

from resight.backbones import BACKBONES, build_backbone, load_weights
from resight.backbones.ct_resnet import begin_with_ct, ct_resnet152_weights
from resight.errors import SettingsError, nearest
from resight.models import Classifier, ModelOptions, build_classifier
from resight.training.hints import LITE0, build_teacher

CT: Final = "-ct"
"""End of the name of a ResNet that begins with CT weights (extra `ct152`)."""


def network_of(name: str) -> tuple[str, dict[str, int]]:
    """Backbone and options of a network.

    Args:
        name: a backbone with its depth, a ResNet with `-ct` behind that (CT weights), or `lite0` (ImageNet weights).

    Raises:
        SettingsError: there is no such network.
    """
    if name == LITE0:
        return "efficientnet_lite", {}
    backbone, _, depth = name.removesuffix(CT).partition("-")
    options = {"depth": int(depth)} if depth.isdigit() else {}
    BACKBONES.options(backbone, options)
    if name.endswith(CT) and (backbone != "resnet" or options.get("depth", 0) < 50):
        fix = "Name resnet-50-ct, resnet-101-ct or resnet-152-ct."
        raise SettingsError(f"there are no CT weights for {name!r}", where="models and probes", fix=fix)
    return backbone, options


def side_px(name: str, asked_px: int) -> int:
    """Side of the images that a network is trained on: as asked for, or the least that its layers can take.

    Args:
        name: as `network_of`.
        asked_px: side in pixels.
    """
    backbone, options = network_of(name)
    with torch.device("meta"):  # only its shape is asked for
        return max(asked_px, build_backbone(backbone, in_channels=1, **options).min_size_px)


def title(name: str) -> str:
    """For tables: which network, and where it begins."""
    if name == LITE0:
        return "EfficientNet-Lite0, ImageNet weights"
    return f"{name.removesuffix(CT)}, {'CT' if name.endswith(CT) else 'random'} weights"


def check_networks(models: tuple[str, ...], probes: tuple[str, ...], weights: dict[str, Path]) -> None:
    """Refuse unknown networks and weights that do not fit now, rather than after the first one is trained.

    Raises:
        SettingsError: an unknown network, or weights of one that is not trained or has its own.
        BundleError: a file of weights cannot be read, holds more than tensors, or is of another network.
    """
    for name in (*models, *probes):
        network_of(name)
    if LITE0 in models:
        raise SettingsError(f"{LITE0!r} is only judged frozen", where="models", fix="Name it among the probes.")
    for name, file in weights.items():
        if name not in models:
            found = f"weights are given for {name!r}, which is not trained"
            raise SettingsError(found, where="weights", fix=nearest(name, models))
        if name.endswith(CT):
            fix = f"Name {name.removesuffix(CT)}."
            raise SettingsError(f"weights are given for {name!r}, which has its own", where="weights", fix=fix)
        backbone, options = network_of(name)
        load_weights(build_backbone(backbone, **options), file)


def first_weights(name: str, given: dict[str, Path], out: Path) -> Path | None:
    """The file a network that is trained begins with; None for random weights.

    Args:
        name: as `network_of`.
        given: network -> file.
        out: CT weights are written there.
    """
    if not name.endswith(CT):
        return given.get(name)
    file = out / "weights" / f"{name}.safetensors"
    if not file.is_file():
        backbone, options = network_of(name)
        begun = build_backbone(backbone, in_channels=1, **options)
        begin_with_ct(begun, ct_resnet152_weights(file.parent))
        part = file.with_suffix(".part")
        save_file(begun.state_dict(), part)
        part.replace(file)
    return file


def frozen_network(name: str, out: Path) -> Classifier:
    """A network that is never trained here.

    Args:
        name: as `network_of`.
        out: CT weights are kept there.
    """
    if name == LITE0:
        return build_teacher(LITE0, channels=1)
    backbone, options = network_of(name)
    torch.manual_seed(0)
    # with zero_init the units of a fresh ResNet would all be the identity
    plain = {"zero_init": False} if backbone == "resnet" else {}
    model = build_classifier(
        ModelOptions(backbone={"name": backbone, **options, **plain}), labels=("unused",), channels=1, dims=2
    )
    if name.endswith(CT):
        begin_with_ct(model.backbone, ct_resnet152_weights(out / "weights"))
    return model
