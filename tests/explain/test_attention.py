"""The network's own attention: gates as its layers computed them, and one clear line where there are none."""

import pytest
import torch

from resight.errors import SettingsError
from resight.explain import attention_gates, build_explainer
from resight.models import ModelOptions, build_classifier


def network(attention, dims=2, **more):
    torch.manual_seed(0)
    backbone = {"name": "resnet", "depth": 10, "width": 8, "stem": "cifar", "zero_init": False, "attention": attention}
    backbone |= more
    options = ModelOptions(backbone=backbone)
    return build_classifier(options, labels=("a", "b"), channels=1, dims=dims).eval()


IMAGES = torch.randint(0, 256, (2, 1, 24, 24), dtype=torch.uint8)


def test_gates_of_every_stage_are_those_that_scaled_the_map():
    classifier = network(["none", "se", "eca", "cbam"])
    gates = attention_gates(classifier, IMAGES)
    assert list(gates) == ["layer2.0.attention", "layer3.0.attention", "layer4.0.attention"]
    assert [tuple(g.channels.shape) for g in gates.values()] == [(2, 16), (2, 32), (2, 64)]
    assert [g.places is None for g in gates.values()] == [True, True, False]
    seen = {}
    unit = classifier.backbone.layer4[0]
    unit.attention.register_forward_hook(lambda _, before, after: seen.update(before=before[0], after=after))
    classifier(IMAGES)
    last = gates["layer4.0.attention"]
    torch.testing.assert_close(seen["before"] * last.channels[..., None, None] * last.places, seen["after"])


@pytest.mark.parametrize("name", ["se", "cbam"])
def test_a_unit_that_a_gate_left_out_lets_nothing_through(name):
    classifier = network(name, gate_target=0.6)
    pair = torch.stack([torch.zeros_like(IMAGES[0]), torch.full_like(IMAGES[0], 255)])
    gate, asked = classifier.backbone.layer4[0].gate, []
    gate.register_forward_hook(lambda *_: torch.tensor([False, True]) if len(asked) == 0 else torch.tensor(asked))
    gates = attention_gates(classifier, pair)["layer4.0.attention"]
    maps = build_explainer("attention").explain(classifier, pair)
    for part in (gates.channels, maps) if gates.places is None else (gates.channels, gates.places, maps):
        assert not part[0].any()
        assert part[1].all()
    asked += [False, False]
    assert not build_explainer("attention").explain(classifier, pair).any()


def test_gates_of_slices_are_refused():
    inner = {"name": "resnet", "depth": 10, "width": 8, "attention": "se"}
    options = ModelOptions(backbone={"name": "slices", "network": inner})
    classifier = build_classifier(options, labels=("a",), channels=1, dims=3).eval()
    with pytest.raises(SettingsError, match="Slices: gates of a network that sees parts of an image"):
        attention_gates(classifier, torch.zeros(1, 1, 4, 24, 24, dtype=torch.uint8))


def test_the_map_of_cbam_is_its_gate_of_places():
    classifier = network("cbam")
    maps = build_explainer("attention", stage=0).explain(classifier, IMAGES)
    assert torch.equal(maps[:, 0], maps[:, 1])
    assert 0 < float(maps.min()) < float(maps.max()) < 1
    torch.testing.assert_close(maps[:, :1], attention_gates(classifier, IMAGES)["layer1.0.attention"].places)


@pytest.mark.parametrize("name", ["se", "eca"])
def test_a_closed_channel_does_not_show_in_the_map(name):
    classifier = network(name)
    layer = classifier.backbone.layer4[0].attention
    whole = build_explainer("attention").explain(classifier, IMAGES)
    found = layer.gates
    keep = torch.zeros(64)
    keep[:1] = 1

    def first_channel_alone(maps):
        gates = found(maps)
        return type(gates)(gates.channels * keep)

    layer.gates = first_channel_alone
    single = build_explainer("attention").explain(classifier, IMAGES)
    assert not torch.allclose(whole, single)


@pytest.mark.parametrize(
    ("attention", "options", "message"),
    [
        ("none", {}, "stage -1 has no attention layer"),
        (["cbam", "none", "none", "none"], {"stage": 1}, "stage 1 has no attention layer"),
        ("se", {"stage": 4}, "stage = 4; expected -4 to 3"),
        ("se", {"unit": 1}, "unit = 1; expected -1 to 0"),
    ],
)
def test_what_is_not_there_is_named(attention, options, message):
    with pytest.raises(SettingsError, match=message):
        build_explainer("attention", **options).explain(network(attention), IMAGES)
