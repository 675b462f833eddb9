"""From settings to a classifier: every part by its registered name, with published or fresh weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from torch import nn

from resight.backbones import BACKBONES, Backbone, SideBySide, load_weights
from resight.errors import SettingsError
from resight.heads import HEADS
from resight.models.classifier import Classifier
from resight.models.exits import build_exits
from resight.models.model_options import ModelOptions, split_name
from resight.multimodal import FUSIONS, STEMS, ClinicalInput, StemOptions, TableEncoding

_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)
# Published weights expect these; one grey channel gets their average, so that summed first-layer weights fit.
_GREY_MEAN: Final = (0.449,)
_GREY_STD: Final = (0.226,)


def build_classifier(
    options: ModelOptions,
    *,
    labels: Sequence[str],
    channels: int,
    dims: int,
    modalities: int = 1,
    encoding: TableEncoding | None = None,
) -> Classifier:
    """Assemble a classifier with weights from `options.weights`, or freshly drawn from torch's global generator.

    Args:
        options: which backbone and head.
        labels: names of the logits, in order.
        channels: channels of the images, all modalities together.
        dims: 2 for images, 3 for volumes.
        modalities: images of one patient that the channels hold side by side.
        encoding: of the clinical columns, where the options name some.

    Raises:
        SettingsError: unknown name or option, parts that do not fit together, or weights of another network.
        BundleError: the weights cannot be read.
    """
    name, backbone_options = split_name(options.backbone)
    if backbone_options.get("num_classes"):
        fix = "Leave num_classes away: the head gives the logits."
        raise SettingsError("a last layer of its own", where=f"backbone {name!r}", fix=fix)
    if (auxiliary := backbone_options.get("auxiliary_classes", 0)) not in (0, len(labels)):
        found, expected = f"auxiliary_classes = {auxiliary}", f"0 or {len(labels)}, the number of labels"
        raise SettingsError(found, where=f"backbone {name!r}", expected=expected)
    stem, width, shares, dropout = _stem(options, modalities, channels, dims)
    backbones: list[Backbone] = []
    for _ in range(shares):
        one: Backbone = BACKBONES.build(name, backbone_options, in_channels=width // shares, dims=dims)
        if options.weights is not None:
            load_weights(one, options.weights, sha256=options.weights_sha256)
        backbones.append(one)
    backbone = backbones[0] if shares == 1 else SideBySide(backbones)
    head_name, head_options = split_name(options.head)
    head = HEADS.build(head_name, head_options, in_features=backbone.feature_dim, n_labels=len(labels))
    mean = _per_channel("mean", options.mean, channels, _IMAGENET_MEAN if channels == 3 else _GREY_MEAN)
    std = _per_channel("std", options.std, channels, _IMAGENET_STD if channels == 3 else _GREY_STD)
    clinical = _clinical(options, encoding, backbone.feature_dim, len(labels))
    if (modalities > 1 or clinical is not None) and (options.exits.after or backbone_options.get("gate_target")):
        fix = "Leave [model.exits] and gate_target away."
        raise SettingsError("exits or gates in a network of several inputs", where="model", fix=fix)
    return Classifier(
        backbone,
        head,
        mean,
        std,
        build_exits(options.exits, backbone, name, len(labels), dims),
        options.exits.weight,
        exit_matching=options.exits.matching,
        clinical=clinical,
        stem=stem,
        modalities=modalities,
        modality_dropout=dropout,
    )


def _stem(options: ModelOptions, modalities: int, channels: int, dims: int) -> tuple[nn.Module | None, int, int, float]:
    """What stands before the backbone, the channels it gives, how many backbones share them, and the dropout."""
    if modalities == 1:
        if options.stem is not None:
            fix = "Name the images of a patient in recipe.modalities, or leave the section away."
            raise SettingsError("a stem for one image per patient", where="model.stem", fix=fix)
        return None, channels, 1, 0.0
    name, given = split_name(options.stem or {"name": "channels"})
    chosen = STEMS.options(name, given)
    assert isinstance(chosen, StemOptions)
    built = STEMS.build(name, chosen, modalities=modalities, channels=channels // modalities, dims=dims)
    return (*built, chosen.dropout)


def _clinical(
    options: ModelOptions, encoding: TableEncoding | None, feature_dim: int, n_labels: int
) -> ClinicalInput | None:
    if options.clinical is None:
        return None
    if encoding is None:
        expected = f"the encoding of {', '.join(options.clinical.columns)}"
        raise SettingsError("clinical columns without an encoding", where="model.clinical", expected=expected)
    name, given = split_name(options.fusion or {"name": "film"})
    fusion = FUSIONS.build(name, given, feature_dim=feature_dim, table_dim=encoding.width, n_labels=n_labels)
    return ClinicalInput(fusion, encoding.nothing(), options.clinical.table_dropout, options.clinical.image_dropout)


def _per_channel(
    key: str, given: tuple[float, ...] | None, channels: int, default: tuple[float, ...]
) -> tuple[float, ...]:
    values = default if given is None else given
    if len(values) not in (1, channels):
        raise SettingsError(f"{key} has {len(values)} values", where="model", expected=f"1 or {channels}, the channels")
    return values if len(values) == channels else values * channels
