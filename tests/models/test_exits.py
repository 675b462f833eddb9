"""Exits: named stages, losses of their own, answers that can be explained, and clear lines for what is not there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from resight.errors import SettingsError
from resight.explain import build_explainer
from resight.models import Classifier, ModelOptions, build_classifier

IMAGES = torch.randint(0, 256, (3, 1, 32, 32), dtype=torch.uint8)


def classifier(backbone: dict[str, Any] | None = None, dims: int = 2, **exits: Any) -> Classifier:
    torch.manual_seed(0)
    options = ModelOptions(
        backbone=backbone or {"name": "resnet", "depth": 10, "width": 4, "zero_init": False},
        exits={"after": ["stage3", "stage1"], **exits},
    )
    return build_classifier(options, labels=("a", "b"), channels=1, dims=dims).eval()


@pytest.mark.parametrize("dims", [2, 3])
def test_every_exit_answers_and_is_trained_with_its_weight(dims: int) -> None:
    network = classifier(dims=dims, weight=0.3).train()
    answers = network.answers(torch.rand(2, 1, *[32] * dims) * 255)
    assert list(network.exits) == ["stage1", "stage3"]
    assert [(tuple(logits.shape), weight) for logits, weight in answers.auxiliary] == [((2, 2), 0.3)] * 2
    sum(logits.sum() for logits, _ in answers.auxiliary).backward()
    assert all(p.grad is not None for p in network.exits.parameters())
    assert network.backbone.layer3[0].conv1.weight.grad is not None
    assert network.backbone.layer4[0].conv1.weight.grad is None


def test_exits_learn_from_the_last_classifier_and_do_not_move_it() -> None:
    assert classifier().train().answers(IMAGES).penalty is None
    network = classifier(matching=0.7).train()
    found = network.answers(IMAGES)
    apart = sum((logits - found.logits).square().mean() for logits, _ in found.auxiliary)
    torch.testing.assert_close(found.penalty, 0.7 * apart)
    found.penalty.backward()
    assert all(p.grad is None for p in network.head.parameters())
    assert network.backbone.layer4[0].conv1.weight.grad is None
    assert all(part.fc.weight.grad.any() for part in network.exits.values())
    optimizer = torch.optim.SGD(network.exits.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        network.answers(IMAGES).penalty.backward()
        optimizer.step()
    assert network.answers(IMAGES).penalty < 0.5 * found.penalty


def test_exits_do_not_change_the_last_answer() -> None:
    with_exits = classifier()
    without = classifier(after=())
    without.load_state_dict({k: v for k, v in with_exits.state_dict().items() if not k.startswith("exits.")})
    assert torch.equal(with_exits(IMAGES), without(IMAGES))


def test_an_early_answer_can_be_explained() -> None:
    network = classifier()
    early = network.until("stage3")
    stages = network.stages(IMAGES)
    torch.testing.assert_close(early(IMAGES), network.exits["stage3"](stages[2]))
    found = build_explainer("gradcam").predict_and_explain(early, IMAGES)
    torch.testing.assert_close(found.logits, early(IMAGES).detach())
    assert found.maps.shape == (3, 2, 32, 32)
    assert float(found.maps.max()) > 0
    whole = build_explainer("gradcam").explain(network, IMAGES)
    assert not torch.allclose(found.maps, whole)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"after": ["stage9"]}, r"model.exits.after: no stage 'stage9'; expected stage1, stage2, stage3"),
        ({"after": ["stage4"]}, r"model.exits.after: 'stage4' has the model's head; expected stage1, stage2, stage3"),
        (
            {"backbone": {"name": "vgg"}},
            r"model.exits.after: backbone 'vgg' cannot be left between stages. Use 'resnet'",
        ),
    ],
)
def test_exits_that_cannot_be_are_named(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        classifier(**changes)


def test_an_exit_named_twice_and_one_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="every stage once"):
        classifier(after=["stage1", "stage1"])
    with pytest.raises(SettingsError, match="no exit 'stage2'"):
        classifier().until("stage2")
