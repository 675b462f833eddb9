"""`resight weights ...`: published weights as files that Resight reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, progress_bars, result_json, result_table, say

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
    first_units: Annotated[bool, Parameter(negative="")] = False,
    sha256: str | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Turn a file of published weights into safetensors for one of the backbones.

    The file lies on this machine: nothing is fetched (`resight weights fetch` does that). It may be safetensors or a
    PyTorch file, with the names of torchvision, timm or MedicalNet; a PyTorch file that holds more than tensors is
    refused, since reading it could run code. Less than 95 % of the tensors matched is an error. The result is for
    `model.weights` of an experiment file.

    Args:
        file: published weights.
        backbone: name of the backbone, as `resight list backbone` shows it.
        out: safetensors file to write.
        option: option of the backbone, for example `depth=50`.
        channels: channels of the images; other weights are summed or repeated to fit.
        dims: 2 for images, 3 for volumes; 2D filters are spread over the depth, 3D ones are summed over it.
        first_units: take the first units of every stage of a deeper ResNet.
        sha256: checksum that the file must have.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.backbones import build_backbone, load_weights, save_weights
    from resight.settings import parse_overrides

    check_free(out, force=force)
    network = build_backbone(backbone, in_channels=channels, dims=dims, **parse_overrides(option or []))
    report = load_weights(network, file, sha256=sha256, first_units=first_units)
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


def fetch(
    name: str,
    *,
    out: Path,
    mirror: str = "",
    sha256: str = "",
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Fetch a file of published weights from the network.

    This is the only command that fetches anything, and only when it is asked to; it refuses while `RESIGHT_OFFLINE` or
    `HF_HUB_OFFLINE` is set. The name is `hf:owner/model` (the file `model.safetensors`) or
    `hf:owner/model@revision/file` on Hugging Face, `torchhub:resnet50` for ImageNet weights of torchvision (`-v2` for
    the second edition), an address that begins with https:, http: or file:, or `ct152` for the CT network that the
    extra of this name installs, which needs no network. Files of torch hub are checked against the digits in their
    names.

    Args:
        name: of the weights.
        out: file to write.
        mirror: address that replaces that of Hugging Face or torch hub, for a copy in the house.
        sha256: checksum that the file must have.
        force: replace `out`.
        as_json: print the result for programs.
    """
    from resight.backbones.ct_resnet import CT_RESNET152, copy_ct_resnet152
    from resight.backbones.published import fetch_weights, find_weights

    address = None if name == CT_RESNET152 else find_weights(name, mirror=mirror)
    check_free(out, force=force)  # an old file stays until the new one is whole
    out.parent.mkdir(parents=True, exist_ok=True)
    if address is None:
        digest = copy_ct_resnet152(out)
    else:
        with progress_bars() as progress:
            digest = fetch_weights(address, out, sha256=sha256, progress=progress)
    if as_json:
        result_json({"file": str(out), "sha256": digest, "source": name if address is None else address.url})
        return 0
    say(f"sha256 {digest}")
    say(f"Make it fit a backbone with: resight weights import {out} --backbone resnet --out weights.safetensors")
    print(out)
    return 0
