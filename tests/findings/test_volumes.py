"""Volumes: slices and maps where the evidence lies, in the space of the patient, accepted by dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from resight.explain import PlacedEvidence
from resight.findings import Finding, FoundImage, FoundStudy, FoundVolume, write_objects

DEPTH, ROWS, COLUMNS = 24, 300, 280
SPOT = 17, 200, 60
"""Slice, row and column of the strongest evidence."""
CORNER = np.array([-100.5, -120.25, 33.0])
ORIENTATIONS = {"axial": [1, 0, 0, 0, 1, 0], "sagittal": [0, 1, 0, 0, 0, -1]}


def headers(first: Dataset, cosines: list[float]) -> tuple[Dataset, ...]:
    made = []
    for place in np.random.default_rng(0).permutation(DEPTH).tolist():  # they arrive in no order
        one = deepcopy(first)
        one.SOPInstanceUID, one.InstanceNumber = f"1.2.3.100.{place}", place + 1
        one.Rows, one.Columns, one.SliceThickness = ROWS, COLUMNS, 2.5
        one.ImageOrientationPatient = cosines
        one.ImagePositionPatient = [float(v) for v in CORNER + 2.5 * place * np.cross(cosines[:3], cosines[3:])]
        made.append(one)
    return tuple(made)


def affine_of(cosines: list[float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, 0] = 2.5 * np.cross(cosines[:3], cosines[3:])
    affine[:3, 1], affine[:3, 2] = 0.7 * np.array(cosines[3:]), 0.7 * np.array(cosines[:3])
    affine[:3, 3] = CORNER
    return affine


@pytest.fixture(params=ORIENTATIONS)
def study(request: pytest.FixtureRequest, ct_slice: Dataset, make_study: Callable[..., FoundStudy]) -> FoundStudy:
    """The network saw a grid of 12 x 30 x 28; one voxel of it holds the evidence."""
    cosines = [float(value) for value in ORIENTATIONS[request.param]]
    maps = np.zeros((2, 12, 30, 28), np.float32)
    maps[0, SPOT[0] // 2, SPOT[1] // 10, SPOT[2] // 10] = 4.0
    grid = np.diag([2.0, 10.0, 10.0, 1.0])
    grid[:3, 3] = 0.5, 4.5, 4.5
    evidence = PlacedEvidence(("Effusion", "Other"), maps, grid, (DEPTH, ROWS, COLUMNS))
    pixels = np.full((1, DEPTH, ROWS, COLUMNS), 0.25, np.float32)
    volume = FoundVolume(pixels, evidence, (2.5, 0.7, 0.7), affine_of(cosines))
    findings = Finding("Effusion", 0.9, 0.4, 1), Finding("Other", 0.2, 0.5, 0)
    image = FoundImage(headers(ct_slice, cosines), findings, volume=volume)
    return replace(make_study(image.sources[0]), images=(image,))


def accepted(path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, timeout=60, check=False)
    said = (done.stdout + done.stderr).decode()
    assert "Error" not in said, said


def test_a_map_has_its_peak_where_the_patient_has_it(study: FoundStudy, tmp_path: Path) -> None:
    (written,) = write_objects(study, ["pm"], tmp_path)  # for what is present only
    accepted(written.path)
    found = pydicom.dcmread(written.path)
    shared, frames = found.SharedFunctionalGroupsSequence[0], found.PerFrameFunctionalGroupsSequence
    assert (found.NumberOfFrames, found.Rows, found.Columns) == (DEPTH, 150, 140)
    assert [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing] == pytest.approx([1.4, 1.4])
    mapping = (shared if "RealWorldValueMappingSequence" in shared else frames[0]).RealWorldValueMappingSequence[0]
    values = found.pixel_array * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
    assert values.max() == pytest.approx(3.2, abs=0.8)  # of 4.0, interpolated between voxels of the network's grid
    peak = np.argwhere(values > 0.9 * values.max()).mean(axis=0)
    place = [float(v) for v in frames[round(peak[0])].PlanePositionSequence[0].ImagePositionPatient]
    cosines = [float(v) for v in shared.PlaneOrientationSequence[0].ImageOrientationPatient]
    where = np.array(place) + 1.4 * (np.array(cosines[3:]) * peak[1] + np.array(cosines[:3]) * peak[2])
    volume = study.images[0].volume
    assert volume is not None
    assert volume.affine is not None
    truth = (volume.affine @ (SPOT[0] - 0.5, SPOT[1] + 4.5, SPOT[2] + 4.5, 1))[:3]
    assert np.linalg.norm(where - truth) < 2.5, "within a slice"
    # every frame lies on the plane of a slice that was sent
    normal = np.cross(cosines[:3], cosines[3:])
    planes = [
        float(np.dot([float(v) for v in f.PlanePositionSequence[0].ImagePositionPatient], normal)) for f in frames
    ]
    sent = sorted(float(np.dot(s.ImagePositionPatient, normal)) for s in study.images[0].sources)
    assert sorted(planes) == pytest.approx(sent, abs=1e-3)


def test_captures_show_the_slices_that_hold_the_evidence_and_name_them(study: FoundStudy, tmp_path: Path) -> None:
    written = write_objects(study, ["sc"], tmp_path)
    assert 1 <= len(written) <= 3
    assert len({one.sop_uid for one in written}) == len(written)
    bare = replace(study.images[0], findings=tuple(replace(f, probability=0.0) for f in study.images[0].findings))
    for one in written:
        accepted(one.path)
        capture = pydicom.dcmread(one.path)
        assert capture.StudyInstanceUID == "1.2"
        picture = capture.pixel_array[: 1024 * ROWS // COLUMNS].astype(int)
        coloured = np.abs(picture - picture[..., :1]).max(axis=2) > 8
        rows, columns = np.nonzero(coloured)
        assert abs(rows.mean() * COLUMNS / 1024 - SPOT[1] - 4.5) < 4
        assert abs(columns.mean() * COLUMNS / 1024 - SPOT[2] - 4.5) < 4
        assert coloured.mean() < 0.02
    empty = replace(bare.volume, evidence=replace(bare.volume.evidence, maps=np.zeros((2, 12, 30, 28), np.float32)))  # type: ignore[union-attr]
    assert write_objects(replace(study, images=(replace(bare, volume=empty),)), ["sc"], tmp_path / "none") == []


def test_a_volume_without_a_place_in_space_has_captures_and_no_map(study: FoundStudy, tmp_path: Path) -> None:
    assert study.images[0].volume is not None
    nowhere = replace(study.images[0], volume=replace(study.images[0].volume, affine=None))
    assert write_objects(replace(study, images=(nowhere,)), ["pm"], tmp_path) == []
    assert write_objects(replace(study, images=(nowhere,)), ["sc", "sr"], tmp_path)
