"""`resight weights ...`: published weights as files that Resight reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import fresh, result_json, result_table, say

_SHOWN = 3
"""How many tensors of a kind are named."""


def import_(
    file: Path,
    *,
    backbone: str,
    out: Path,
    option: Annotated[list[str] | None, Parameter(name="--option", negative="")] = None,
    channels: int = 3,
    dims: int = 2,
    sha256: str | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Turn a file of published weights into safetensors for one of the backbones.

    The file lies on this machine: nothing is fetched, neither from a model hub nor from anywhere else. It may be
    safetensors or a PyTorch file, with the names of torchvision, timm or MedicalNet; a PyTorch file that holds more
    than tensors is refused, since reading it could run code. Less than 95 % of the tensors matched is an error. The
    result is for `model.weights` of an experiment file.

    Args:
        file: published weights.
        backbone: name of the backbone, as `resight list backbone` shows it.
        out: safetensors file to write.
        option: option of the backbone, for example `depth=50`.
        channels: channels of the images; other weights are summed or repeated to fit.
        dims: 2 for images, 3 for volumes; 2D filters are spread over the depth, 3D ones summed over it.
        sha256: checksum that the file must have.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.backbones import build_backbone, load_weights, save_weights
    from resight.settings import parse_overrides

    network = build_backbone(backbone, in_channels=channels, dims=dims, **parse_overrides(option or []))
    report = load_weights(network, file, sha256=sha256)
    save_weights(network, fresh(out, force=force))
    groups = {name: getattr(report, name) for name in ("matched", "adapted", "missing", "unused")}
    if as_json:
        result_json({**groups, "share": report.share, "file": str(out)})
        return 0
    rows = [
        (name, len(tensors), ", ".join(tensors[:_SHOWN]) + ", ..." * (len(tensors) > _SHOWN))
        for name, tensors in groups.items()
    ]
    result_table(("tensors", "count", "for example"), rows)
    say(f"Start from them with --set model.weights={out}")
    print(out)
    return 0
