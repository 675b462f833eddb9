"""A model of volumes in service: captures, maps and overlays, slice by slice, in the order the scanner wrote them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import cv2
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from review_service import ct_slice, model_settings, take_in, write_bundle
from serving_images import content
from sqlalchemy import select

from resight.explain import PlacedEvidence
from resight.serving import ServiceSettings
from resight.serving.accounts import add_token
from resight.serving.app import build_app
from resight.serving.parts import Parts
from resight.serving.schema import Prediction
from resight.serving.service import Service

SIZE, DEPTH = 32, 9
ENHANCED = (0, 4, 8, 3, 7, 2, 6, 1, 5)
"""Place in space of each frame of the Enhanced CT."""


def ramp(place: int, study: str, **changes: object) -> pydicom.Dataset:
    """A slice whose values tell slice, row and column apart, with a bright block in slice 6, above and to the left."""
    dataset = ct_slice(place, study=study, size_px=SIZE)
    values = np.full((SIZE, SIZE), 300 + place, "<u2")
    if place == 6:
        values[4:12, 4:12] = 3000
    dataset.PixelData = values.tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


def sagittal(place: int) -> pydicom.Dataset:
    """The same, stored with rows that run to posterior and columns that run to the feet."""
    cosines = [0, 1, 0, 0, 0, -1]
    return ramp(place, "1.2.4", ImageOrientationPatient=cosines, ImagePositionPatient=[-5.0 * place, 0, 0])


def enhanced(study: str) -> pydicom.Dataset:
    """The axial slices as the frames of one Enhanced CT, in no order; geometry and rescale stand in its groups."""
    shared, orientation, measures, rescale = (pydicom.Dataset() for _ in range(4))
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.5], 5
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = 1, -1024, "HU"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    shared.PixelValueTransformationSequence = [rescale]
    frames = []
    for place in ENHANCED:
        frame, position = pydicom.Dataset(), pydicom.Dataset()
        position.ImagePositionPatient = [0, 0, 5.0 * place]
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    dataset = ramp(0, study, SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1", NumberOfFrames=DEPTH)
    dataset.PixelData = b"".join(ramp(place, study).PixelData for place in ENHANCED)
    dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], frames
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        del dataset[keyword]
    return dataset


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Study 1: axial slices; 2: sagittal ones; 3: frames of one object. The network's evidence is what is bright."""
    folder = tmp_path_factory.mktemp("volumes")
    model = {**model_settings(write_bundle(folder / "bundle", dims=3)), "modalities": ["CT"], "name": "chest-ct"}
    given = {"folder": folder / "service", "quiet_s": 0, "models": [{**model, "objects": ["sr", "sc", "pm"]}]}
    with Parts(Service(ServiceSettings.model_validate(given))) as parts, pytest.MonkeyPatch.context() as patched:
        loaded = parts.models.current("chest-ct")
        assert loaded is not None

        def bright(image: object) -> PlacedEvidence:
            prepared = loaded.predictor.prepare(image).astype(np.float32)  # type: ignore[arg-type]
            maps = np.repeat((prepared > 200) * 1.0, 3, axis=0).astype(np.float32)
            manifest = loaded.predictor.manifest
            space = image.pixels.shape[1:]  # type: ignore[attr-defined]
            return PlacedEvidence(manifest.labels, maps, manifest.recipe.grid(image), space)  # type: ignore[arg-type]

        patched.setattr(type(loaded), "evidence", lambda _self, image: bright(image))
        take_in(parts, *(ramp(place, "1.2.3") for place in (3, 0, 8, 1, 2, 7, 4, 5, 6)))
        take_in(parts, *(sagittal(place) for place in range(DEPTH)))
        take_in(parts, enhanced("1.2.6"))
        yield parts


@pytest.fixture(scope="module")
def client(parts: Parts) -> Iterator[TestClient]:
    with parts.service.store.write() as session:
        token = add_token(session, "viewer", "reader", by="test")
    with TestClient(build_app(parts), headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def asked(client: TestClient, study: str) -> dict[str, str]:
    version = client.get(f"/api/studies/{study}").json()["results"][0]["version"]
    return {"model": "chest-ct", "version": version, "label": "mass"}


@pytest.mark.parametrize(("key", "study"), [(1, "1.2.3"), (2, "1.2.4"), (3, "1.2.6")])
def test_the_overlay_lies_on_the_slice_and_the_place_of_what_is_bright(
    client: TestClient, key: int, study: str
) -> None:
    found = asked(client, study)
    shares = client.get(f"/studies/{key}/images/0/evidence/profile", params=found).json()["shares"]
    assert len(shares) == DEPTH
    (place,) = np.flatnonzero(np.array(shares) > 0.9)
    facts = client.get(f"/studies/{key}/images/0").json()
    assert (facts["slices"], facts["height"], facts["width"]) == (DEPTH, SIZE, SIZE)
    raw = client.get(f"/studies/{key}/images/0/values", params={"place": int(place)}).content
    values = np.frombuffer(raw, "<u2").reshape(SIZE, SIZE)
    bright = values > values.max() / 2
    assert np.flatnonzero(bright.any(axis=1)).tolist() == list(range(4, 12)), "as it was stored"
    for slice_ in range(DEPTH):
        answer = client.get(f"/studies/{key}/images/0/evidence", params={**found, "place": slice_})
        plane = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]
        assert plane.shape == (SIZE, SIZE)
        if slice_ == place:
            assert (plane[7:10, 7:10] > 200).all()  # the network sees three voxels as one
            assert not plane[:, 16:].any()
            assert not plane[16:].any()
        elif abs(slice_ - place) > 1:
            assert not plane.any()
    past = client.get(f"/studies/{key}/images/0/evidence", params={**found, "place": DEPTH})
    assert past.status_code == 404


@pytest.mark.parametrize("study", [1, 2, 3])
def test_a_map_of_a_volume_has_its_peak_on_the_plane_of_the_slice_that_was_sent(parts: Parts, study: int) -> None:
    with parts.service.store.read() as session:
        prediction = session.scalars(select(Prediction).where(Prediction.study_pk == study)).one()
        files = [(one.kind, parts.service.folder / one.file) for one in prediction.objects]
    assert {kind for kind, _ in files} == {"pm", "sc", "sr"}
    written = {kind: pydicom.dcmread(path) for kind, path in files}
    frames = written["pm"].PerFrameFunctionalGroupsSequence
    strongest = int(written["pm"].pixel_array.max(axis=(1, 2)).argmax())
    position = [float(v) for v in frames[strongest].PlanePositionSequence[0].ImagePositionPatient]
    truth = [-30.0, 0, 0] if study == 2 else [0, 0, 30.0]
    assert position == pytest.approx(truth, abs=1e-3)
    source = frames[strongest].DerivationImageSequence[0].SourceImageSequence[0]
    assert source.get("ReferencedFrameNumber") == (ENHANCED.index(6) + 1 if study == 3 else None)
    if (dciodvfy := shutil.which("dciodvfy")) is None:
        pytest.skip("dciodvfy is not installed")
    for _, path in files:
        done = subprocess.run([dciodvfy, str(path)], capture_output=True, timeout=60, check=False)
        said = (done.stdout + done.stderr).decode()
        assert "Error" not in said, said


def test_the_page_offers_the_overlay_of_a_volume(client: TestClient) -> None:
    page = client.get("/studies/1").text
    assert 'data-evidence data-image="0" data-model="chest-ct"' in page
    assert "No overlays" not in page


def test_a_slice_of_a_volume_alone_is_told_to_be_one(client: TestClient, parts: Parts) -> None:
    path = parts.intake.spool()
    path.write_bytes(content(ramp(0, "1.2.5")))
    parts.intake.accept(path, "test")
    take_in(parts)
    with parts.service.store.read() as session:
        newest = max(session.scalars(select(Prediction.study_pk)))
    assert newest == 3, "one slice is no volume"
    found = asked(client, "1.2.3")
    answer = client.get("/studies/4/images/0/evidence", params=found)
    assert answer.status_code == 404
    assert "the model reads volumes, and these are shown as single images" in answer.json()["detail"]
