"""A network that is left early, or whose units are skipped: the same answers as promised, and the work really saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from resight.blocks import counting_flops, watching_gates
from resight.evaluation import BudgetPoint, Calibration, LabelCalibration, leave, sureness
from resight.models import Classifier, ModelOptions, build_classifier
from resight.models.adaptive import is_adaptive, measure_costs, run_within, trace
from resight.models.graph import write_graph

IMAGES = torch.randint(0, 256, (12, 1, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
DECIDING = (0.4, 0.5, 0.6)


def network(*, gates: bool = False, exits: bool = True) -> Classifier:
    torch.manual_seed(3)
    backbone: dict[str, Any] = {"name": "resnet", "depth": 18, "width": 8, "zero_init": False}
    if gates:
        backbone["gate_target"] = 0.5
    options = ModelOptions(backbone=backbone, exits={"after": ["stage1", "stage3"] if exits else []})
    found = build_classifier(options, labels=("a", "b", "c"), channels=1, dims=2).eval()
    for name, parameter in found.named_parameters():
        if ".gate.net." in name:  # gates that differ from image to image
            parameter.data = torch.randn_like(parameter) * 2
    return found


def point_for(model: Classifier, task: str, gate_threshold: float, *quantiles: float | None) -> BudgetPoint:
    """Limits that let the given shares of the images pass."""
    calibration = Calibration(task=task, labels=(LabelCalibration(scale=1.5),) * 3)
    costs = measure_costs(model, (1, 32, 32))
    seen = trace(model, IMAGES, costs, gate_threshold)
    margins = [
        None
        if q is None
        else float(np.quantile(sureness(calibration.apply(seen.logits[:, e]), DECIDING, task).min(1), q))
        for e, q in enumerate(quantiles)
    ]
    calibrations = (calibration,) * (len(quantiles) + 1)
    return BudgetPoint(share=0.5, gate_threshold=gate_threshold, margins=tuple(margins), calibrations=calibrations)


@pytest.mark.parametrize("task", ["multilabel", "multiclass"])
@pytest.mark.parametrize(
    ("gates", "quantiles"), [(False, (0.6, 0.8)), (True, (0.6, 0.8)), (False, (None, 0.5)), (False, (0.0, 0.0))]
)
def test_what_is_run_is_what_was_promised_and_costs_what_was_promised(task: str, gates: bool, quantiles: Any) -> None:
    model = network(gates=gates)
    costs = measure_costs(model, (1, 32, 32))
    point = point_for(model, task, 0.5, *quantiles)
    with torch.inference_mode():
        promised = leave(trace(model, IMAGES, costs, 0.5), point, DECIDING, task)
        with counting_flops(model) as counts:
            found = run_within(model, IMAGES, point, DECIDING, task, costs)
    np.testing.assert_allclose(found.logits, promised.logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.decided_at, promised.decided_at)
    np.testing.assert_array_equal(found.left_at, promised.left_at)
    np.testing.assert_allclose(found.share, promised.share, rtol=1e-9)
    assert found.share.sum() * costs.whole == pytest.approx(sum(counts.values()), rel=1e-9)
    assert found.share.min() < 0.999
    if quantiles == (0.6, 0.8):
        assert len(set(found.left_at)) > 1


def test_alone_as_in_a_batch_and_stages_that_are_not_needed_are_not_called() -> None:
    model = network(gates=True)
    costs = measure_costs(model, (1, 32, 32))
    point = point_for(model, "multilabel", 0.5, 0.6, 0.8)
    together = run_within(model, IMAGES, point, DECIDING, "multilabel", costs)
    batches: list[int] = []
    model.backbone.layer4.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    alone = [run_within(model, image[None], point, DECIDING, "multilabel", costs) for image in IMAGES]
    np.testing.assert_allclose(np.concatenate([one.logits for one in alone]), together.logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(np.concatenate([one.left_at for one in alone]), together.left_at)
    last = int((together.left_at == 2).sum())
    assert 0 < last < len(IMAGES)
    assert batches == [1] * last


def test_gates_alone_skip_more_the_higher_their_threshold() -> None:
    model = network(gates=True, exits=False)
    costs = measure_costs(model, (1, 32, 32))
    shares = [trace(model, IMAGES, costs, threshold).flops.mean() for threshold in (0.0, 0.3, 0.7, 1.0)]
    assert shares[0] == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0]


def test_which_networks_have_anything_to_skip() -> None:
    assert is_adaptive(network())
    assert is_adaptive(network(gates=True, exits=False))
    assert not is_adaptive(network(exits=False))


@pytest.mark.parametrize("gates", [False, True])
def test_the_whole_costs_what_the_plain_network_costs(gates: bool) -> None:
    model = network(gates=gates)
    costs = measure_costs(model, (1, 32, 32))
    plain = network(exits=False)
    with torch.no_grad(), counting_flops(plain) as counts:
        plain(IMAGES[:1])
    own = sum(counts.values())
    assert costs.whole == own if not gates else own < costs.whole < 1.02 * own


@pytest.mark.parametrize(("gates", "exits"), [(True, False), (False, True), (True, True)])
def test_one_graph_holds_the_whole_network_with_gates_at_a_half(gates: bool, exits: bool, tmp_path: Path) -> None:
    model = network(gates=gates, exits=exits)
    write_graph(model, (1, 32, 32), tmp_path / "graph.onnx")
    runtime = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    darker = (IMAGES * torch.linspace(0, 1, len(IMAGES)).view(-1, 1, 1, 1)).to(torch.uint8)  # gates see the means
    for images in (darker, darker[5:6]):
        with torch.inference_mode(), watching_gates(0.5) as opened:
            expected = model(images)
        (found,) = runtime.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)
        if gates and len(images) > 1:
            shares = torch.stack([(gate >= 0.5).float().mean() for gate in opened])
            assert ((shares > 0) & (shares < 1)).any(), "a gate that differs between images is part of the test"
