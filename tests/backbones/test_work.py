"""What stages and gated units cost, and that the penalty brings gates to their target."""

from __future__ import annotations

import torch

from resight.backbones import build_backbone, measure_work
from resight.blocks import counting_flops, watching_gates

IMAGES = torch.rand(8, 1, 32, 32, generator=torch.Generator().manual_seed(0))


def gated(**options: float) -> torch.nn.Module:
    torch.manual_seed(0)
    return build_backbone("resnet", depth=18, width=8, in_channels=1, zero_init=False, gate_target=0.5, **options)


def test_stages_add_up_to_the_network_and_units_to_what_gates_spare() -> None:
    network = gated().train()
    work = measure_work(network, (1, 32, 32))
    assert network.training
    assert [unit.stage for unit in work.units] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert work.units[3].name == "layer2.1"
    network.eval()
    for threshold, spared in ((0.0, 0), (1.1, sum(unit.flops for unit in work.units))):
        with torch.no_grad(), watching_gates(threshold), counting_flops(network) as counts:
            network(IMAGES[:1])
        assert sum(counts.values()) == sum(work.stages) - spared


def test_statistics_are_not_moved_by_measuring() -> None:
    network = gated().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    measure_work(network, (1, 32, 32))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_the_penalty_brings_the_expected_work_to_the_target() -> None:
    network = gated().train()
    work = measure_work(network, (1, 32, 32))
    gates = [p for name, p in network.named_parameters() if ".gate." in name]
    optimizer = torch.optim.Adam(gates, lr=0.05)

    def expected() -> float:
        shut = sum(
            (1 - float(p.detach().mean())) * unit.flops for p, unit in zip(probabilities, work.units, strict=True)
        )
        return 1 - shut / sum(work.stages)

    shares = []
    for _ in range(60):
        with watching_gates() as probabilities:
            network(IMAGES)
        penalty = network.penalty(probabilities, IMAGES)
        shares.append(expected())
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
    assert shares[0] > 0.75
    assert abs(shares[-1] - 0.5) < 0.03


def test_a_network_without_gates_adds_nothing() -> None:
    network = build_backbone("resnet", depth=10, width=4)
    assert network.penalty([], torch.rand(1, 3, 32, 32)) is None
