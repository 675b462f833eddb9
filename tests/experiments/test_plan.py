"""A plan gives a reason for what it chose, and no machine talks it into sizes at which nothing can be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from resight.experiments.fingerprint import Fingerprint, Machine
from resight.experiments.plan import _choices, _size_and_epochs

FOUND = Fingerprint("binary", 1, 800, 700, 0.4, 2, 224, 1.3, None, 0.0, 0.0, ("OT",), False)
MACHINE = Machine("cpu", "fp32", 2, 2e6)


@pytest.mark.parametrize("pixels_per_s", [1e3, 1e5, 1e6, 1e7, 1e9])
@pytest.mark.parametrize("images", [100, 800, 20_000])
def test_sizes_stay_where_findings_can_be_seen(pixels_per_s: float, images: int) -> None:
    machine = replace(MACHINE, pixels_per_s=pixels_per_s)
    size, epochs, reason = _size_and_epochs(replace(FOUND, images=images), machine, 15)
    assert 96 <= size <= 224
    assert 15 <= epochs <= 60
    if pixels_per_s == 1e3:
        assert "still about" in reason


def test_small_images_are_not_enlarged() -> None:
    size, _, _ = _size_and_epochs(replace(FOUND, short_side_px=70), MACHINE, 15)
    assert size == 64


def test_faster_machines_see_more() -> None:
    speeds = (1e5, 1e6, 4e6, 1e7, 1e8)
    sizes = [_size_and_epochs(FOUND, replace(MACHINE, pixels_per_s=speed), 15)[0] for speed in speeds]
    assert sizes == sorted(sizes)
    assert sizes[-1] == 224


def test_measured_choices_carry_reasons() -> None:
    choices = {f"{c.section}.{c.key}": c for c in _choices(FOUND, MACHINE, 15)}
    for key in ("recipe.size_px", "recipe.channels", "training.epochs", "training.batch_size", "split.group"):
        assert choices[key].reason
    assert choices["split.group"].value == "patient_id"
    unknown = {f"{c.section}.{c.key}": c for c in _choices(replace(FOUND, patients=None), MACHINE, 15)}
    assert "NO PATIENT" in unknown["split.group"].reason


VOLUMES = replace(FOUND, dims=3, short_side_px=30, spacing_mm=(8.0, 0.8, 0.8), extent_mm=(270.0, 250.0, 350.0))


@pytest.mark.parametrize("pixels_per_s", [1e3, 1e6, 1e9])
def test_the_grid_of_volumes_covers_what_they_show_and_is_no_finer_than_they_are(pixels_per_s: float) -> None:
    chosen = {
        f"{c.section}.{c.key}": c.value for c in _choices(VOLUMES, replace(MACHINE, pixels_per_s=pixels_per_s), 15)
    }
    size, spacing = chosen["recipe.size_px"], chosen["recipe.spacing_mm"]
    for voxels, distance, extent, own in zip(
        size, spacing, VOLUMES.extent_mm or (), VOLUMES.spacing_mm or (), strict=True
    ):
        assert 0.97 * extent <= voxels * distance <= max(extent + 8 * distance, 16 * distance)
        assert distance >= own
    assert ("model.backbone.stem_depth_stride" in chosen) == (spacing[0] >= 2 * spacing[1])
    if pixels_per_s == 1e9:
        assert spacing[0] == 8.0 > 2 * spacing[1] > 0


def test_volumes_without_a_spacing_are_planned_in_voxels() -> None:
    chosen = {
        f"{c.section}.{c.key}": c.value
        for c in _choices(replace(VOLUMES, spacing_mm=None, extent_mm=None), MACHINE, 15)
    }
    assert len(set(chosen["recipe.size_px"])) == 1
    assert "recipe.spacing_mm" not in chosen
