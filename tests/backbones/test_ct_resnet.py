"""The CT network becomes ResNets of images; the real file where it is installed, shards of a small one elsewhere."""

from __future__ import annotations

import hashlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from resight.backbones import build_backbone, load_weights
from resight.backbones import ct_resnet as module
from resight.backbones.ct_resnet import begin_with_ct, copy_ct_resnet152, ct_resnet152_weights, has_ct_resnet152
from resight.errors import BundleError, DependencyError


def volumes() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_backbone("resnet", depth=152, width=2, dims=3, in_channels=3, zero_init=False).state_dict()


@pytest.fixture
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The four packages of the extra, holding a narrow network in the layout of the real one."""
    whole = tmp_path / "whole.pt"
    halves = {k: v.bfloat16() if v.is_floating_point() else v for k, v in volumes().items()}
    torch.save({"state_dict": halves, "meta": {"n": 1}}, whole)

    def path(name: str, folder: str) -> str:
        assert name == "astra"
        joined = Path(folder) / "astra_encoder.pt"
        joined.write_bytes(whole.read_bytes())
        return str(joined)

    for name in module._PACKAGES:
        package = ModuleType(name)
        package.__dict__.update(path=path, __spec__=ModuleSpec(name, None))
        monkeypatch.setitem(sys.modules, name, package)
    monkeypatch.setattr(module, "CT_RESNET152_SHA256", hashlib.sha256(whole.read_bytes()).hexdigest())
    return whole


def test_filters_are_summed_over_depth(shards: Path, tmp_path: Path) -> None:
    file = ct_resnet152_weights(tmp_path / "weights")
    flat = build_backbone("resnet", depth=152, width=2, in_channels=3)
    begin_with_ct(flat, file)
    state = torch.load(file, weights_only=True)["state_dict"]
    for name, tensor in flat.state_dict().items():
        expected = state[name].float().sum(2) if state[name].ndim == 5 else state[name]
        torch.testing.assert_close(tensor, expected.to(tensor.dtype))


def test_a_shallower_network_gets_the_first_units(shards: Path, tmp_path: Path) -> None:
    file = ct_resnet152_weights(tmp_path / "weights")
    deep, shallow = (build_backbone("resnet", depth=depth, width=2, in_channels=3) for depth in (152, 50))
    begin_with_ct(deep, file)
    report = begin_with_ct(shallow, file, frozen_stages=2)
    assert report.share == 1
    wanted = deep.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in shallow.state_dict().items())
    free = {name.split(".")[0] for name, p in shallow.named_parameters() if p.requires_grad}
    assert free == {"layer3", "layer4"}


def test_the_file_is_checked(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ct_resnet152_weights(tmp_path / "weights")
    monkeypatch.setattr(module, "CT_RESNET152_SHA256", "0" * 64)
    with pytest.raises(BundleError, match="sha256"):
        begin_with_ct(build_backbone("resnet", depth=152, width=2, in_channels=3), file)


def test_the_file_can_be_kept(shards: Path, tmp_path: Path) -> None:
    digest = copy_ct_resnet152(tmp_path / "kept.pt")
    assert hashlib.sha256((tmp_path / "kept.pt").read_bytes()).hexdigest() == digest
    network = build_backbone("resnet", depth=101, width=2, in_channels=3)
    assert load_weights(network, tmp_path / "kept.pt", first_units=True).share == 1


def test_shards_that_do_not_fit_are_one_line(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str, folder: str) -> str:
        raise RuntimeError("astra: joined file does not match its SHA-256")

    monkeypatch.setattr(sys.modules[module._PACKAGES[0]], "path", broken)
    with pytest.raises(BundleError, match=r"does not match its SHA-256\)\. Install the extra"):
        ct_resnet152_weights(tmp_path / "weights")


def test_the_real_network_or_the_name_of_the_extra_that_holds_it(tmp_path: Path) -> None:
    if not has_ct_resnet152():
        with pytest.raises(DependencyError, match="ct152"):
            ct_resnet152_weights(tmp_path)
        return
    network = build_backbone("resnet", depth=50, in_channels=3)
    report = begin_with_ct(network, ct_resnet152_weights(tmp_path))
    assert report.share == 1
    assert any("layer3.35" in name for name in report.unused)
