"""Epsilon is what the accountants say, noise is as large as stated, and clipping clips."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from opacus.accountants import RDPAccountant

from resight.errors import SettingsError, TrainingError
from resight.federated.aggregate import norm
from resight.federated.coordinator import Coordinator
from resight.federated.messages import Message
from resight.federated.privacy import EpsilonLedger, clip, site_noise, with_noise
from resight.federated.simulate import InProcess, sites_of
from resight.federated.weights import shared_tensors, tensors_of

GROUP = {"norm": "group"}


def test_epsilon_of_dp_sgd_is_that_of_opacus() -> None:
    ledger, accountant = EpsilonLedger(1e-5), RDPAccountant()
    for _ in range(300):
        ledger.add(1.1, 0.02, 1)
        accountant.step(noise_multiplier=1.1, sample_rate=0.02)
    assert ledger.uses == [(1.1, 0.02, 300)]
    assert ledger.epsilon() == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-6)


def test_epsilon_without_sampling_is_near_the_gaussian_mechanisms_formula() -> None:
    """Rényi: T / (2 s^2) alpha + log(1/delta) / (alpha - 1) at its smallest bounds it from above (Mironov 2017)."""
    ledger = EpsilonLedger(1e-5)
    ledger.add(4.0, 1.0, 10)
    rho = 10 / (2 * 4.0**2)
    bound = rho + 2 * math.sqrt(rho * math.log(1e5))
    assert 0.7 * bound < ledger.epsilon() <= bound * 1.01
    assert EpsilonLedger(1e-5).epsilon() == 0.0
    assert ledger.after(4.0, 1.0, 1) > ledger.epsilon()


def test_an_update_is_shortened_to_the_norm_and_no_further() -> None:
    update = {"w": np.full((2, 2), 3.0, np.float32), "b": np.zeros(2, np.float32)}
    short, factor = clip(update, 1.5)
    assert norm(short) == pytest.approx(1.5, rel=1e-6)
    assert factor == pytest.approx(0.25)
    assert norm(clip(update, 100.0)[0]) == norm(update)


def test_noise_of_all_sites_together_is_that_of_the_mechanism(rng: np.random.Generator) -> None:
    deviation = site_noise(noise=2.0, clip_norm=0.5, fewest=4)
    sums = np.sum([with_noise({"w": np.zeros(50_000)}, deviation, rng)["w"] for _ in range(4)], axis=0)
    assert sums.std() == pytest.approx(1.0, rel=0.02)


def test_a_site_under_noise_sends_a_clipped_update_and_the_ledger_counts(settings, three, tmp_path: Path) -> None:
    privacy = {"differential": "site", "clip_norm": 0.01, "noise": 1.0}
    chosen = settings(rounds=3, weight_by="equal", privacy=privacy, backbone=GROUP)
    coordinator = Coordinator(chosen, InProcess(sites_of(chosen, three, tmp_path / "sites")), tmp_path)
    coordinator.train()
    size = sum(array.size for array in coordinator.shared.values())
    expected = 0.01 * math.sqrt(size / 2 * 3) / 3  # three sites, each with its share among at least two
    for entry in coordinator.history.rounds:
        assert entry["moved"] == pytest.approx(expected, rel=0.1)
    own = EpsilonLedger(1e-5)
    own.add(1.0, 1.0, 3)
    assert coordinator.history.rounds[-1]["epsilon"] == pytest.approx(own.epsilon())
    text = (tmp_path / "sites" / "a" / "ledger.jsonl").read_text()
    assert '"protected_by": "TLS on the way; the server reads it; noise, clipped to norm 0.01"' in text


def test_training_ends_before_the_budget_of_a_site_is_exceeded(settings, three, tmp_path: Path) -> None:
    privacy = {"differential": "site", "noise": 4.0, "epsilon": 2.0}
    chosen = settings(rounds=50, weight_by="equal", privacy=privacy, backbone=GROUP)
    coordinator = Coordinator(chosen, InProcess(sites_of(chosen, three, tmp_path / "sites")), tmp_path)
    coordinator.train()
    assert 0 < coordinator.history.rounds[-1]["epsilon"] <= 2.0
    assert coordinator.epsilon.after(4.0, 1.0, 1) > 2.0
    assert "budget" in coordinator.history.refusals[-1]["reason"]


def test_noise_for_single_images_is_counted_at_each_site_by_its_own_size(settings, three, tmp_path: Path) -> None:
    privacy = {"differential": "example", "noise": 0.8, "clip_norm": 1.0}
    chosen = settings(rounds=2, privacy=privacy, backbone=GROUP)
    sites = sites_of(chosen, three, tmp_path / "sites")
    coordinator = Coordinator(chosen, InProcess(sites), tmp_path)
    coordinator.train()
    for name, site in sites.items():
        count = len(three[name].samples["train"])
        own = EpsilonLedger(1e-5)
        own.add(0.8, 8 / count, 2 * -(-count // 8))
        assert site._recall(99)[1].epsilon() == pytest.approx(own.epsilon())


def test_a_round_asked_for_again_costs_again(settings, three, tmp_path: Path) -> None:
    chosen = settings(rounds=2, privacy={"differential": "example"}, backbone=GROUP)
    site = sites_of(chosen, three, tmp_path)["a"]
    spent = [
        site.answer(Message("train", n, {"fewest": 2}, tensors_of(site.model))).facts["epsilon"] for n in (0, 0, 1)
    ]
    assert spent[0] < spent[1] < spent[2]


def test_a_round_that_fails_costs_too(settings, three, tmp_path: Path) -> None:
    chosen = settings(rounds=1, min_sites=3, weight_by="equal", privacy={"differential": "site"}, backbone=GROUP)
    sites = InProcess(sites_of(chosen, three, tmp_path / "sites"), {"a": (0,)})
    coordinator = Coordinator(chosen, sites, tmp_path)
    with pytest.raises(TrainingError, match="failed 3 times"):
        coordinator.train()
    assert coordinator.epsilon.uses == [(1.0, 1.0, 3)]


def test_gradients_of_single_images_are_clipped_before_they_are_added(settings, three, tmp_path: Path) -> None:
    """One step with next to no noise moves the weights by at most clipping norm x images x rate / batch size."""
    moved = {}
    for largest in (0.1, 0.01):
        privacy = {"differential": "example", "noise": 1e-4, "clip_norm": largest}
        training = {"batch_size": 24, "learning_rate": 1.0}
        chosen = settings(rounds=1, min_sites=1, privacy=privacy, backbone=GROUP, training=training)
        coordinator = Coordinator(
            chosen, InProcess(sites_of(chosen, {"a": three["a"]}, tmp_path / str(largest))), tmp_path / str(largest)
        )
        coordinator.train()
        moved[largest] = coordinator.history.rounds[0]["moved"]
        assert 0 < moved[largest] <= largest * 24 / 24 * 1.01
    assert moved[0.1] > 5 * moved[0.01]


def test_an_empty_draw_is_a_step_of_noise_alone(settings, three, tmp_path: Path, monkeypatch) -> None:
    class Never:
        def random(self, count: int) -> np.ndarray:
            return np.ones(count)

    monkeypatch.setattr(
        "resight.federated.local.np.random.default_rng", lambda *seed: Never() if not seed else RNG(*seed)
    )
    privacy = {"differential": "example", "noise": 1.0, "clip_norm": 0.1}
    chosen = settings(rounds=1, min_sites=1, privacy=privacy, backbone=GROUP)
    coordinator = Coordinator(chosen, InProcess(sites_of(chosen, {"a": three["a"]}, tmp_path / "s")), tmp_path)
    coordinator.train()
    size = sum(p.numel() for p in coordinator.model.parameters())
    rates = 0.2 * np.sqrt(np.sum(np.square(0.5 * (1 + np.cos(np.pi * np.arange(3) / 3)))))
    assert coordinator.history.rounds[0]["moved"] == pytest.approx(0.1 / 8 * rates * math.sqrt(size), rel=0.1)


RNG = np.random.default_rng


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({}, "batch normalisation in 'backbone.bn1'"),
        ({"backbone": {"norm": "group", "inplace_relu": True}}, "overwrites its input"),
        ({"backbone": GROUP, "training": {"mixup": 0.2}}, "mixup"),
        ({"backbone": GROUP, "training": {"accumulate": 2}}, "accumulate"),
    ],
)
def test_networks_that_cannot_be_clipped_are_refused_in_one_line(settings, three, tmp_path, changes, found) -> None:
    chosen = settings(rounds=1, privacy={"differential": "example"}, **changes)
    reply = sites_of(chosen, three, tmp_path)["a"]
    answer = reply.answer(Message("train", 0, {"fewest": 2}, tensors_of(reply.model)))
    assert answer.kind == "refused"
    assert found in answer.facts["reason"]


def test_a_head_on_a_backbone_with_batch_normalisation_learns_under_noise(settings, three, tmp_path: Path) -> None:
    """One step with next to no noise is the mean of clipped gradients of the head, whatever the backbone is."""
    privacy = {"differential": "example", "noise": 1e-6, "clip_norm": 0.05}
    training = {"batch_size": 24, "learning_rate": 1.0}
    chosen = settings(rounds=1, min_sites=1, learns="head", privacy=privacy, training=training)
    site = sites_of(chosen, {"a": three["a"]}, tmp_path)["a"]
    train = three["a"].samples["train"]
    images = torch.from_numpy(np.stack([train.store[int(row)] for row in train.rows]))
    with torch.no_grad():
        model = site.model.eval()
        features = model.features(images)
        wrong = torch.sigmoid(model.head(features)) - torch.from_numpy(train.targets).float()
    gradient = torch.cat([wrong * features, wrong], dim=1)
    clipped = gradient * (0.05 / gradient.norm(dim=1, keepdim=True)).clamp(max=1)
    reply = site.answer(Message("train", 0, {"fewest": 1}, shared_tensors(site.model, site.strategy, site._frozen)))
    update = np.concatenate([reply.arrays[name].ravel() for name in sorted(reply.arrays, reverse=True)])
    assert np.allclose(update, -clipped.sum(0).numpy() / 24, atol=1e-6)


def test_site_noise_asks_for_equal_weights(settings) -> None:
    with pytest.raises(SettingsError, match="weight_by = 'equal'"):
        settings(privacy={"differential": "site"})


def test_after_private_training_the_network_is_an_ordinary_one(settings, three, tmp_path: Path) -> None:
    chosen = settings(rounds=1, privacy={"differential": "example"}, backbone=GROUP)
    site = sites_of(chosen, three, tmp_path)["a"]
    for number in range(2):
        assert site.answer(Message("train", number, {"fewest": 2}, tensors_of(site.model))).kind == "train"
    assert not [p for p in site.model.parameters() if hasattr(p, "grad_sample")]
    site.model(torch.zeros(1, 1, 16, 16)).sum().backward()
