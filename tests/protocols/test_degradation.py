"""The degradation study: blocks are really left out, gradients written down, and the words follow the numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from resight.backbones import build_backbone
from resight.errors import OutputError, SettingsError
from resight.protocols import PROTOCOLS, Surroundings, write_study
from resight.protocols.degradation_memory import MemoryCase, measure_memory
from resight.protocols.degradation_runs import GradientLog, Network, _training_rows, gradient_steps, without_block
from resight.protocols.degradation_words import Found, conclude, tables


def network(**options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    style = {"depth": 20, "width": 4, "shortcut": "pad", "zero_init": False}
    return build_backbone("resnet", in_channels=1, **{**style, **options}).eval()


@pytest.mark.parametrize("position", [0, 1])
def test_a_block_left_out_is_a_branch_of_zeros(position: int) -> None:
    backbone, images = network(), torch.rand(2, 1, 16, 16)
    whole = backbone(images)
    with without_block(backbone.layer2, position):
        without = backbone(images)
    norm = backbone.layer2[position].bn2
    kept = norm.weight.detach().clone(), norm.bias.detach().clone()
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.zero_()
    torch.testing.assert_close(without, backbone(images))
    with torch.no_grad():
        norm.weight.copy_(kept[0])
        norm.bias.copy_(kept[1])
    assert torch.equal(whole, backbone(images))
    assert not torch.allclose(whole, without)


def test_gradients_are_written_at_the_steps_asked_for_and_survive_an_interruption(tmp_path: Path) -> None:
    backbone = network().train()
    backbone(torch.rand(2, 1, 16, 16)).sum().backward()
    expected = float(backbone.conv1.weight.grad.norm())
    for _ in range(2):  # a second log reads what the first wrote
        log = GradientLog(backbone, gradient_steps(4, 5), tmp_path / "g.json", lambda *_: None)
        for step in range(1, 21):
            log("train", step, 20, "")
    entries = log.read()
    assert [entry["step"] for entry in entries] == [1, 5, 10, 20]
    assert entries[0]["norms"][0] == pytest.approx(expected)
    assert len(entries[0]["norms"]) == 19


@pytest.mark.parametrize(("images", "expected"), [(0, 30), (12, 12), (40, 30)])
def test_networks_learn_from_training_images_alone(images: int, expected: int) -> None:
    masks = {"train": np.arange(50) < 30, "test": np.arange(50) >= 30}
    prepared: Any = SimpleNamespace(in_split=masks.__getitem__)
    rows = [_training_rows(prepared, Network(20, True, seed, 8, images=images)) for seed in (0, 0, 1)]
    assert [mask.sum() for mask in rows] == [expected] * 3
    assert not any((mask & masks["test"]).any() for mask in rows)
    np.testing.assert_array_equal(rows[0], rows[1])
    assert (images == 12) == (rows[0] != rows[2]).any()


def run(depth: int, *, plain: bool, loss: float, first: float) -> dict[str, Any]:
    return {
        "asked": {"network": asdict(Network(depth, plain, 0, 8)), "training": {"epochs": 1}},
        "history": [{"loss": loss}],
        "gradients": [{"step": 1, "norms": [first, 1.0]}],
        "test_auroc": {"value": 0.9, "low": 0.8, "high": 1.0},
        "dropped": [],
    }


def found(first: float, deep_loss: float) -> Found:
    runs = [
        run(depth, plain=plain, loss=deep_loss if plain and depth == 56 else 0.1 + depth / 1e4 * plain, first=first)
        for depth in (20, 56)
        for plain in (True, False)
    ]
    return Found(tuple(runs), None, ())


def test_words_follow_the_numbers() -> None:
    one = found(first=2.0, deep_loss=0.6)
    degraded = " ".join(conclude(one))
    assert "one seed, so chance is not ruled out" in degraded
    again = [run(d, plain=p, loss=0.1 + (p and d == 56), first=200.0) for d in (20, 56) for p in (True, False)]
    twice = " ".join(conclude(Found((*one.runs, *again), None, ())))
    assert (
        "the plain network degrades: its training loss ends higher (0.101 against 0.850 after 1 epochs; with each of 2"
        in twice
    )
    assert (
        "shows no difference beyond that between seeds (0.100 against 0.100 after 1 epochs; ranges of 2 seeds" in twice
    )
    assert "is 20 times that of the last at the first step" in twice  # 2 and 200
    assert "the plain network degrades" in degraded
    assert "the residual network shows no difference" in degraded
    assert "that is degradation" in degraded
    assert "has vanished" not in degraded
    fine = " ".join(conclude(found(first=0.01, deep_loss=0.05)))
    assert "the plain network gains from depth" in fine
    assert "has vanished" in fine
    assert "that is degradation" not in fine
    assert "exploding with depth" in " ".join(conclude(found(first=1e5, deep_loss=0.6)))


def test_one_seed_has_no_range_and_several_have_one() -> None:
    one = found(first=1e-5, deep_loss=0.6)
    headings = tables(one)
    (losses,) = (rows for heading, rows in headings.items() if heading.startswith("Training loss"))
    assert all(np.isnan(row.ours.low) and row.ours.n == 1 for row in losses if row.ours)
    (aurocs,) = (rows for heading, rows in headings.items() if heading.startswith("AUROC"))
    assert {(row.ours.low, row.ours.high) for row in aurocs if row.ours} == {(0.8, 1.0)}
    (ratios,) = (rows for heading, rows in headings.items() if "decimal logarithm (one seed)" in heading)
    assert [row.ours.value for row in ratios if row.ours] == pytest.approx([-5.0] * 8)
    again = [run(d, plain=p, loss=0.3, first=1.0) for d in (20, 56) for p in (True, False)]
    headings = tables(Found((*one.runs, *again), None, ()))
    (losses,) = (
        rows for heading, rows in headings.items() if "mean and range over seeds" in heading and "loss" in heading
    )
    deep = next(row.ours for row in losses if row.what == "plain, 56 layers")
    assert deep is not None
    assert (deep.low, deep.high) == (0.3, 0.6)


def test_published_figures_of_other_images_stand_apart() -> None:
    headings = tables(found(first=1.0, deep_loss=0.6))
    published = [heading for heading, rows in headings.items() if any(row.published for row in rows)]
    assert len(published) == 1
    assert "not comparable" in published[0]
    assert all(row.ours is None for row in headings[published[0]])


def test_depths_without_three_stages_are_refused() -> None:
    with pytest.raises(SettingsError, match="none of the networks of three stages"):
        PROTOCOLS.options("degradation", {"depths": [20, 50]})


@pytest.mark.slow
def test_checkpointing_bounds_memory() -> None:
    kept, bounded = (
        measure_memory(MemoryCase(depth=164, width=8, batch_size=32, checkpointed=checkpointed))
        for checkpointed in (False, True)
    )
    assert kept["peak_gb"] - kept["idle_gb"] > 1.3 * (bounded["peak_gb"] - bounded["idle_gb"])


@pytest.mark.slow
def test_smoke_run_is_kept_and_not_repeated(tmp_path: Path) -> None:
    data, rng, rows = tmp_path / "data", np.random.default_rng(0), ["file,patient_id,label"]
    data.mkdir()
    for number in range(60):
        ill = number % 2
        cv2.imwrite(str(data / f"{number}.png"), rng.integers(60 * ill, 150 + 60 * ill, (32, 32), dtype=np.uint8))
        rows.append(f"{number}.png,{number},{'ill' if ill else 'well'}")
    (data / "index.csv").write_text("\n".join(rows))
    seen: list[str] = []
    surroundings = Surroundings(
        data=data,
        out=tmp_path,
        smoke=True,
        progress=lambda stage, *_: seen.append(stage),
    )
    study = PROTOCOLS.build("degradation", {"positive": "ill"}, surroundings=surroundings)
    write_study(tmp_path, study)
    for name in study.pictures:
        ET.parse(tmp_path / name)
    assert any(stage.startswith("train") for stage in seen)
    seen.clear()
    again = PROTOCOLS.build("degradation", {"positive": "ill"}, surroundings=surroundings)
    assert not any(stage.startswith("train") for stage in seen)
    assert again.tables == study.tables
    with pytest.raises(OutputError, match="other settings"):
        PROTOCOLS.build("degradation", {"positive": "ill", "learning_rate": 0.05}, surroundings=surroundings)
