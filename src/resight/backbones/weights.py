"""Weights from a local file into a backbone: read without running code, renamed, fitted, counted and checked."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional

from resight.backbones.base import Backbone
from resight.errors import BundleError, OutputError, SettingsError

_WRAPPERS: Final = re.compile(r"^(module|model|backbone|encoder|net|network|resnet\d*|densenet\d*|alexnet|vgg\d*)\.")
"""Names that training code puts before every parameter."""
_OLD_DENSENET: Final = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
"""Spelling of published DenseNet weights before torchvision 0.3."""
_TIMM_ATTENTION: Final = (
    (".se.fc1.", ".attention.gate.0."),
    (".se.fc2.", ".attention.gate.2."),
    (".se.", ".attention."),
)
"""Where timm keeps the parameters of SE and ECA layers, and where they are here."""
_COUNTERS: Final = "num_batches_tracked"
_GATE: Final = ".gate.net."
_STATE_KEYS: Final = ("state_dict", "model_state_dict", "model")
"""Where checkpoints of training loops keep the parameters."""


@dataclass(frozen=True)
class WeightReport:
    """What became of every tensor.

    Attributes:
        matched: parameters and statistics of the backbone that were filled.
        adapted: those among them that were fitted to other channels or dimensions.
        missing: those that keep their freshly drawn values.
        unused: tensors of the file that belong nowhere.
    """

    matched: tuple[str, ...]
    adapted: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def share(self) -> float:
        """Matched among all tensors of the backbone."""
        return len(self.matched) / max(1, len(self.matched) + len(self.missing))

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing)
        parts = [f"{len(self.matched)} of {total} tensors matched ({self.share:.1%})"]
        for word, names in (("adapted", self.adapted), ("missing", self.missing), ("unused", self.unused)):
            if names:
                parts.append(f"{len(names)} {word} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
        return "; ".join(parts)


def load_weights(
    backbone: Backbone,
    path: str | Path,
    *,
    sha256: str | None = None,
    least_share: float = 0.95,
    first_units: bool = False,
) -> WeightReport:
    """Fill a backbone from a file.

    Names are taken as torchvision and timm write them (SE and ECA layers included), also behind wrappers such as
    `module.` or `backbone.`. A first convolution for other channels is summed to one channel or repeated and scaled; 2D
    filters are spread over the depth of a volume (Carreira and Zisserman 2017, section 2.4), and 3D filters summed over
    it, which is the way back. Of a backbone that carries a network, the network is filled.

    Args:
        backbone: is changed only if the file fits.
        path: safetensors, or a PyTorch file of tensors alone; a file with other pickled objects is refused.
        sha256: checksum the file must have, as hexadecimal digits.
        least_share: share of the backbone's tensors that must be found.
        first_units: take the first units of every stage of a deeper network: leaving units of a residual network out
            harms it little (Veit et al. 2016, section 4.1).

    Raises:
        BundleError: the file cannot be read, holds no tensors, or has another checksum.
        SettingsError: too few tensors match, or convolutions are left over, as with a file of another depth.
    """
    path = Path(path)
    found = _read(path, sha256)
    network = backbone.published
    wanted = network.state_dict()
    first = next(name for name, tensor in wanted.items() if tensor.ndim >= 4)
    fitted: dict[str, Tensor] = {}
    adapted: list[str] = []
    unused: list[str] = []
    for key, tensor in found.items():
        name = _plain_name(key, wanted)
        value = _fit(tensor, wanted[name], any_channels=name == first) if name in wanted else None
        if value is None or name in fitted:
            unused.append(key)
            continue
        fitted[name] = value
        if value.shape != tensor.shape:
            adapted.append(name)
    # gates are of no network but the one they were trained in: those of a file are taken, fresh ones miss nothing
    counted = [n for n in wanted if not n.endswith(_COUNTERS) and not (_GATE in n and n not in fitted)]
    report = WeightReport(
        matched=tuple(name for name in counted if name in fitted),
        adapted=tuple(adapted),
        missing=tuple(name for name in counted if name not in fitted),
        unused=tuple(unused),
    )
    if report.share < least_share:
        expected = f"at least {least_share:.0%} matched"
        raise SettingsError(f"only {report}", where=str(path), expected=expected, fix=_fix(found, report.missing))
    parts = {name.split(".")[0] for name in wanted} if not first_units else set[str]()
    if strays := [key for key in unused if _is_missed(_plain_name(key, wanted), found[key], parts)]:
        fault = f"{len(strays)} layers have no place in the network ({strays[0]})"
        raise SettingsError(fault, where=str(path), expected="weights of this depth and attention", fix=_guess(found))
    network.load_state_dict(fitted, strict=False)
    return report


def save_weights(backbone: Backbone, path: str | Path) -> None:
    """Write a backbone's parameters and statistics as safetensors, for `load_weights`: all of them, or no file.

    Raises:
        OutputError: the file cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f".partial-{path.name}")
    try:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in backbone.state_dict().items()}, partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"cannot be written ({error})", where=str(path)) from error


def _read(path: Path, sha256: str | None) -> dict[str, Tensor]:
    where = str(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(9)
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest() if sha256 else None
        if sha256 and digest != sha256.lower():
            raise BundleError(f"sha256 is {digest}", where=where, expected=sha256, fix="Fetch the file again.")
        is_safetensors = start[8:] == b"{"
        content = load_file(path) if is_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        fix = "Save the state dict alone, best as safetensors."
        raise BundleError("holds more than tensors, which could run code when read", where=where, fix=fix) from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"cannot be read as weights ({line})", where=where) from error
    for key in _STATE_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise BundleError("holds no named tensors", where=where, expected="a state dict")
    return tensors


def _fix(found: Mapping[str, Tensor], missing: Sequence[str]) -> str:
    if all(".downsample." in name for name in missing):
        return "Its shortcuts have no weights, as MedicalNet's of depth 18 and 34: give the option shortcut=pad."
    return _guess(found)


def _guess(found: Mapping[str, Tensor]) -> str:
    depth = 2 + sum(bool(re.search(r"layer\d+\.\d+\.conv\d\.weight$", name)) for name in found)
    return f"The file seems to hold a ResNet of depth {depth}." if depth > 2 else "It seems to hold another network."


def _plain_name(key: str, wanted: Mapping[str, Tensor]) -> str:
    name = _OLD_DENSENET.sub(r"\1\2.", key)
    for theirs, ours in _TIMM_ATTENTION:
        name = name.replace(theirs, ours)
    while name not in wanted and (shorter := _WRAPPERS.sub("", name, count=1)) != name:
        name = shorter
    return name


def _is_missed(name: str, tensor: Tensor, parts: set[str]) -> bool:
    """Whether a tensor without a place was of weight inside the network: a convolution, or part of an attention."""
    return name.split(".")[0] in parts and (tensor.ndim >= 4 or ".attention." in name)


def _fit(tensor: Tensor, wanted: Tensor, *, any_channels: bool) -> Tensor | None:
    """The tensor in the wanted shape, or None where there is no meaningful way to it."""
    if tensor.ndim == 4 and wanted.ndim == 2 and tensor.shape[2:] == (1, 1):
        tensor = tensor.flatten(1)  # a dense layer that was written as a 1x1 convolution
    if tensor.ndim == 4 and wanted.ndim == 5:
        depth = wanted.shape[2]
        tensor = tensor[:, :, None].repeat(1, 1, depth, 1, 1) / depth
    elif tensor.ndim == 5 and wanted.ndim == 4:
        tensor = tensor.float().sum(dim=2)
    elif tensor.ndim == wanted.ndim == 5 and (missing := wanted.shape[2] - tensor.shape[2]) > 0 and missing % 2 == 0:
        tensor = functional.pad(tensor, (0, 0, 0, 0, missing // 2, missing // 2))  # the same filter, written longer
    if any_channels and tensor.ndim == wanted.ndim and tensor.shape[1] != wanted.shape[1]:
        have, want = tensor.shape[1], wanted.shape[1]
        repeated = tensor[:, torch.arange(want) % have] * (have / want)
        tensor = tensor.sum(dim=1, keepdim=True) if want == 1 else repeated
    return tensor if tensor.shape == wanted.shape else None
