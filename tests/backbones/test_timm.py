"""SE- and ECA-ResNets in timm's layout: names and shapes of `tests/golden/timm`, and weights that come through."""

from __future__ import annotations

import importlib.util
import json
from math import prod
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from resight.backbones import Backbone, build_backbone, load_weights
from resight.errors import SettingsError

GOLDEN = Path(__file__).parents[1] / "golden" / "timm"
DEEP: dict[str, Any] = {"stem": "deep", "shortcut": "average"}
OURS: dict[str, dict[str, Any]] = {
    "seresnet18": {"depth": 18, "attention": "se"},
    "seresnet50": {"depth": 50, "attention": "se"},
    "ecaresnet50d": {"depth": 50, "attention": "eca", **DEEP},
    "ecaresnet50t": {"depth": 50, "attention": "eca", **DEEP, "stem": "tiered"},
}
MILLIONS = {
    "seresnet34": ({"depth": 34, "attention": "se"}, 21.96),
    "seresnet50": (OURS["seresnet50"], 28.09),
    "seresnet152d": ({"depth": 152, "attention": "se", **DEEP}, 66.84),
    "ecaresnet50d": (OURS["ecaresnet50d"], 25.58),
    "ecaresnet101d": ({"depth": 101, "attention": "eca", **DEEP}, 44.57),
}
"""Parameters that timm publishes for its models, in millions."""


def layout(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a published file."""
    lines = (line.split() for line in (GOLDEN / f"{name}.txt").read_text().splitlines())
    return {key: () if shape == "scalar" else tuple(map(int, shape.split("x"))) for key, shape in lines}


@pytest.fixture(scope="module")
def formula() -> ModuleType:
    """The script that asked timm's own networks."""
    script = Path(__file__).parents[2] / "benchmarks" / "timm_outputs.py"
    spec = importlib.util.spec_from_file_location("timm_outputs", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", OURS)
def test_the_logits_are_those_of_timm_itself(name: str, formula: ModuleType, tmp_path: Path) -> None:
    save_file(formula.weights_by_formula(layout(name)), tmp_path / "timm.safetensors")
    network = build_backbone("resnet", num_classes=1000, **OURS[name]).eval()
    load_weights(network, tmp_path / "timm.safetensors", least_share=1.0)
    with torch.no_grad():
        logits = network.double()(formula.image().double())[0, : formula.KEPT]
    theirs = json.loads((GOLDEN / "outputs.json").read_text())["logits"][name]
    torch.testing.assert_close(logits, torch.tensor(theirs, dtype=torch.float64), rtol=1e-6, atol=1e-6)


def meta(options: dict[str, Any]) -> Backbone:
    with torch.device("meta"):
        return build_backbone("resnet", num_classes=1000, **options)


@pytest.mark.parametrize("name", OURS)
def test_every_tensor_of_the_published_layout_finds_its_place(name: str, tmp_path: Path) -> None:
    shapes = layout(name)
    generator = torch.Generator().manual_seed(0)
    state = {key: torch.rand(shape, generator=generator) for key, shape in shapes.items()}
    save_file(state, tmp_path / "timm.safetensors")
    network = meta(OURS[name]).to_empty(device="cpu")
    report = load_weights(network, tmp_path / "timm.safetensors", least_share=1.0)
    assert report.unused == ()
    assert report.share == 1
    ours = network.state_dict()
    assert len(ours) == len(shapes)
    for theirs, mine in (
        ("layer2.0.downsample.1.weight", "layer2.0.downsample.1.weight"),
        ("layer3.1.se.fc1.weight", "layer3.1.attention.gate.0.weight"),
        ("layer3.1.se.fc2.bias", "layer3.1.attention.gate.2.bias"),
        ("layer4.0.se.conv.weight", "layer4.0.attention.conv.weight"),
    ):
        assert (theirs in state) == (mine in ours)
        if theirs in state:
            assert torch.equal(ours[mine].flatten(), state[theirs].flatten())


@pytest.mark.parametrize("name", MILLIONS)
def test_parameter_counts_are_those_that_timm_publishes(name: str) -> None:
    options, millions = MILLIONS[name]
    assert sum(p.numel() for p in meta(options).parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


def test_the_golden_layouts_have_those_counts_too() -> None:
    trained = {k: s for k, s in layout("seresnet50").items() if not k.endswith(("mean", "var", "tracked"))}
    assert sum(prod(shape) for shape in trained.values()) / 1e6 == pytest.approx(28.09, abs=0.005)


@pytest.mark.parametrize("attention", ["se", "eca"])
def test_attention_weights_are_not_dropped_in_silence(attention: str, tmp_path: Path) -> None:
    source = build_backbone("resnet", depth=10, width=8, attention=attention)
    state = {k.replace("gate.0", "fc1").replace("gate.2", "fc2"): v for k, v in source.state_dict().items()}
    save_file({k.replace("attention", "se"): v for k, v in state.items()}, tmp_path / "timm.safetensors")
    with pytest.raises(SettingsError, match=r"layers have no place in the network \(layer1\.0\.se"):
        load_weights(build_backbone("resnet", depth=10, width=8), tmp_path / "timm.safetensors")
