"""Weights from files: names, channels, dimensions, checksums, and refusals."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from resight.backbones import Backbone, build_backbone, load_weights, save_weights
from resight.errors import BundleError, OutputError, SettingsError

State = dict[str, Tensor]


def tiny(seed: int = 0, **options: Any) -> Backbone:
    torch.manual_seed(seed)
    return build_backbone("resnet", **{"depth": 10, "width": 4, "zero_init": False, **options})


@pytest.mark.parametrize(
    ("wrap", "save"),
    [
        (lambda s: s, torch.save),
        (lambda s: s, save_file),
        (lambda s: {f"module.{k}": v for k, v in s.items()}, torch.save),
        (lambda s: {"state_dict": {f"module.backbone.{k}": v for k, v in s.items()}, "epoch": 3}, torch.save),
        (lambda s: {f"model.{k}": v for k, v in s.items()} | {"model.fc.weight": torch.ones(2, 32)}, save_file),
        (lambda s: {k: v for k, v in s.items() if "num_batches" not in k}, torch.save),
    ],
)
def test_weights_come_through_wrappers(
    tmp_path: Path, wrap: Callable[[State], Any], save: Callable[[Any, Path], None]
) -> None:
    source, target = tiny(1), tiny(2)
    save(wrap(source.state_dict()), tmp_path / "weights")
    report = load_weights(target, tmp_path / "weights")
    assert report.share == 1
    assert not report.adapted
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(source.eval()(images), target.eval()(images))


def test_weights_that_cannot_be_written_leave_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(tiny(1), path)
    before = path.read_bytes()

    def full(_: State, partial: Path) -> None:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("resight.backbones.weights.save_file", full)
    with pytest.raises(OutputError, match=r"weights\.safetensors: cannot be written .*No space left"):
        save_weights(tiny(2), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_last_layer_is_left_over_and_reported(tmp_path: Path) -> None:
    save_file(tiny(num_classes=7).state_dict(), tmp_path / "weights")
    report = load_weights(tiny(), tmp_path / "weights")
    assert report.unused == ("fc.bias", "fc.weight")
    assert "2 unused (fc.bias, fc.weight)" in str(report)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_other_channels_see_the_same_grey_image_alike(tmp_path: Path, channels: int) -> None:
    source, target = tiny(1), tiny(2, in_channels=channels)
    save_file(source.state_dict(), tmp_path / "weights")
    assert load_weights(target, tmp_path / "weights").adapted == ("conv1.weight",)
    grey = torch.rand(2, 1, 32, 32)
    expected = source.eval()(grey.expand(-1, 3, -1, -1))
    if channels != 2:  # two of three filters cannot be balanced
        torch.testing.assert_close(target.eval()(grey.expand(-1, channels, -1, -1)), expected, rtol=1e-4, atol=1e-5)


def test_filters_of_images_are_spread_over_the_depth_of_volumes(tmp_path: Path) -> None:
    source, target = tiny(1), tiny(2, dims=3)
    save_file(source.state_dict(), tmp_path / "weights")
    report = load_weights(target, tmp_path / "weights")
    assert len(report.adapted) == sum(t.ndim == 4 for t in source.state_dict().values())
    before, after = source.state_dict()["conv1.weight"], target.state_dict()["conv1.weight"]
    torch.testing.assert_close(after.sum(dim=2), before)


def test_first_units_of_a_deeper_network(tmp_path: Path) -> None:
    deep, shallow = tiny(1, depth=152), tiny(2, depth=50)
    save_file(deep.state_dict(), tmp_path / "weights")
    with pytest.raises(SettingsError, match="ResNet of depth 152"):
        load_weights(shallow, tmp_path / "weights")
    report = load_weights(shallow, tmp_path / "weights", first_units=True)
    assert report.share == 1
    assert torch.equal(shallow.layer3[5].conv2.weight, deep.layer3[5].conv2.weight)
    assert any(name.startswith("layer3.6.") for name in report.unused)


def test_old_densenet_names_are_known(tmp_path: Path) -> None:
    source = build_backbone("densenet")
    old = {
        f"module.densenet121.{k}".replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): v
        for k, v in source.state_dict().items()
    }
    torch.save({"state_dict": old}, tmp_path / "weights")
    assert load_weights(build_backbone("densenet"), tmp_path / "weights").share == 1


def test_another_depth_is_refused_and_named_and_nothing_is_changed(tmp_path: Path) -> None:
    save_file(tiny(depth=34).state_dict(), tmp_path / "weights")
    target = tiny(3, depth=50)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    with pytest.raises(
        SettingsError, match=r"expected at least 95% matched\. The file seems to hold a ResNet of depth 34"
    ):
        load_weights(target, tmp_path / "weights")
    assert all(torch.equal(before[name], tensor) for name, tensor in target.state_dict().items())


def test_the_checksum_is_compared(tmp_path: Path) -> None:
    save_file(tiny().state_dict(), tmp_path / "weights")
    digest = hashlib.sha256((tmp_path / "weights").read_bytes()).hexdigest()
    assert load_weights(tiny(), tmp_path / "weights", sha256=digest.upper()).share == 1
    with pytest.raises(BundleError, match=f"sha256 is {digest}; expected 00"):
        load_weights(tiny(), tmp_path / "weights", sha256="00")


def test_a_pickle_with_more_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "weights")
    with pytest.raises(BundleError, match="could run code"):
        load_weights(tiny(), tmp_path / "weights")


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 half a file", bytes(8) + b"{}"])
def test_unreadable_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "weights.bin").write_bytes(content)
    with pytest.raises(BundleError, match=r"weights\.bin"):
        load_weights(tiny(), tmp_path / "weights.bin")
    with pytest.raises(BundleError, match="cannot be read"):
        load_weights(tiny(), tmp_path / "absent")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, torch.zeros(2)])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights")
    with pytest.raises(BundleError, match="no named tensors"):
        load_weights(tiny(), tmp_path / "weights")


def test_filters_of_volumes_are_summed_for_images_which_undoes_spreading(tmp_path: Path) -> None:
    flat, volume, again = tiny(1), tiny(2, dims=3), tiny(3)
    save_file(flat.state_dict(), tmp_path / "flat")
    load_weights(volume, tmp_path / "flat")
    save_file(volume.state_dict(), tmp_path / "volume")
    assert load_weights(again, tmp_path / "volume").share == 1
    torch.testing.assert_close(again.state_dict(), flat.state_dict())


def test_a_volume_that_is_the_same_along_its_depth_gives_the_features_of_its_slice(tmp_path: Path) -> None:
    """Section 2.4 of Carreira and Zisserman; the ends of the depth axis are padded with 0, so look at its middle."""
    flat, volume = tiny(1), tiny(2, dims=3, stem_depth_stride=1)
    save_file(flat.state_dict(), tmp_path / "flat")
    load_weights(volume, tmp_path / "flat")
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        expected = flat.eval().stages(image)[0]
        found = volume.eval().stages(image[:, :, None].expand(-1, -1, 25, -1, -1))[0][:, :, 12]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "options"), [("resnet", {"filters": "acs"}), ("slices", {}), ("windows", {})])
def test_weights_for_images_serve_volumes_as_they_are(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    layers = {"depth": 10, "width": 4, "zero_init": False}
    save_file(tiny(1).state_dict(), tmp_path / "flat")
    given = options | layers if name == "resnet" else {"network": {"name": "resnet", **layers}}
    backbone = build_backbone(name, in_channels=3, dims=3, **given)
    report = load_weights(backbone, tmp_path / "flat")
    assert report.share == 1
    assert (report.adapted == ()) == (name != "windows")
    save_weights(backbone, tmp_path / "own")
    assert load_weights(build_backbone(name, in_channels=3, dims=3, **given), tmp_path / "own").share == 1


def test_the_published_shortcuts_of_medicalnet_are_explained(tmp_path: Path) -> None:
    padded = {"depth": 18, "in_channels": 1, "dims": 3, "shortcut": "pad"}
    torch.save({"state_dict": {f"module.{k}": v for k, v in tiny(1, **padded).state_dict().items()}}, tmp_path / "a")
    with pytest.raises(SettingsError, match="give the option shortcut=pad"):
        load_weights(tiny(2, **padded | {"shortcut": "projection"}), tmp_path / "a")
    assert load_weights(tiny(2, **padded), tmp_path / "a").share == 1


def test_a_filter_of_fewer_slices_is_put_in_the_middle(tmp_path: Path) -> None:
    source, target = tiny(1, in_channels=1, dims=3), tiny(2, in_channels=1, dims=3)
    state = source.state_dict()
    state["conv1.weight"][:, :, :2] = state["conv1.weight"][:, :, 5:] = 0
    save_file(state | {"conv1.weight": state["conv1.weight"][:, :, 2:5].contiguous()}, tmp_path / "weights")
    assert load_weights(target, tmp_path / "weights").adapted == ("conv1.weight",)
    volume = torch.rand(1, 1, 16, 32, 32)
    assert torch.equal(source.eval()(volume), target.eval()(volume))


def test_a_network_gets_gates_after_it_was_trained_without_and_keeps_those_it_had(tmp_path: Path) -> None:
    plain, gated = tiny(1), tiny(2, gate_target=0.5)
    save_weights(plain, tmp_path / "plain.safetensors")
    report = load_weights(gated, tmp_path / "plain.safetensors", least_share=1.0)
    assert report.missing == ()
    assert torch.equal(gated.layer2[0].conv1.weight, plain.layer2[0].conv1.weight)
    assert torch.equal(gated.layer2[0].gate.net[0].weight, tiny(2, gate_target=0.5).layer2[0].gate.net[0].weight)
    save_weights(gated, tmp_path / "gated.safetensors")
    again = tiny(3, gate_target=0.5)
    load_weights(again, tmp_path / "gated.safetensors")
    assert torch.equal(again.layer2[0].gate.net[0].weight, gated.layer2[0].gate.net[0].weight)
