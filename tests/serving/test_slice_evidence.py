"""A model of single images and the slices of a CT: each is judged alone, and each has an overlay of its own."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from httpx import Response
from review_service import ct_slice, model_settings, take_in, write_bundle

from resight.explain import PlacedEvidence
from resight.serving import ServiceSettings
from resight.serving.accounts import add_token
from resight.serving.app import build_app
from resight.serving.parts import Parts
from resight.serving.service import Service

SIZE, DEPTH = 32, 9
ARRIVAL = (3, 0, 8, 1, 2, 7, 4, 5, 6)
SHOWN = {3: 4, 6: 20}
"""Row at which a bright block begins, by slice; the other slices are empty."""


def slice_of(place: int, study: str, **changes: object) -> pydicom.Dataset:
    dataset = ct_slice(place, study=study, size_px=SIZE)
    values = np.full((SIZE, SIZE), 300, "<u2")
    if place in SHOWN:
        values[SHOWN[place] : SHOWN[place] + 8, 4:12] = 3000
    dataset.PixelData = values.tobytes()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """Study 1: all slices, in no order; 2: one of them is damaged; 3: one object of several frames."""
    folder = tmp_path_factory.mktemp("slices")
    model = {**model_settings(write_bundle(folder / "bundle")), "modalities": ["CT"], "name": "slices"}
    given = {
        "folder": folder / "service",
        "quiet_s": 0,
        "limits": {"batch": 4, "drawn_images": 2},
        "models": [{**model, "objects": ["sc", "pm", "sr"]}],
    }
    with Parts(Service(ServiceSettings.model_validate(given))) as parts, pytest.MonkeyPatch.context() as patched:
        loaded = parts.models.current("slices")
        assert loaded is not None

        def bright(image: object) -> PlacedEvidence:
            prepared = loaded.predictor.prepare(image).astype(np.float32)  # type: ignore[arg-type]
            maps = np.repeat((prepared > 200) * 7.0, 3, axis=0).astype(np.float32)
            manifest = loaded.predictor.manifest
            space = image.pixels.shape[1:]  # type: ignore[attr-defined]
            return PlacedEvidence(manifest.labels, maps, manifest.recipe.grid(image), space)  # type: ignore[arg-type]

        patched.setattr(type(loaded), "evidence", lambda _self, image: bright(image))
        take_in(parts, *(slice_of(place, "1.2.3") for place in ARRIVAL))
        broken = {6: {"PixelData": b"\0\0"}}
        take_in(parts, *(slice_of(place, "1.2.4", **broken.get(place, {})) for place in ARRIVAL))
        frames = np.zeros((3, SIZE, SIZE), "<u2").tobytes()
        take_in(
            parts,
            slice_of(0, "1.2.5", NumberOfFrames=3, PixelData=frames),
            slice_of(1, "1.2.5", SeriesInstanceUID="1.2.5.7"),
        )
        yield parts


@pytest.fixture(scope="module")
def client(parts: Parts) -> Iterator[TestClient]:
    with parts.service.store.write() as session:
        token = add_token(session, "viewer", "reader", by="test")
    with TestClient(build_app(parts), headers={"Authorization": f"Bearer {token}"}) as client:
        yield client


def result(client: TestClient, study: str = "1.2.3") -> dict:
    return client.get(f"/api/studies/{study}").json()


def evidence(client: TestClient, key: int, what: str = "", **query: object) -> Response:
    version = result(client)["results"][0]["version"]
    asked = {"model": "slices", "version": version, "label": "effusion", **query}
    return client.get(f"/studies/{key}/images/0/evidence{what}", params=asked)


def opacity(answer: Response) -> np.ndarray:
    assert answer.status_code == 200, answer.text
    return cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]


def numbers(client: TestClient, study: str = "1.2.3") -> list[float]:
    """Probability by slice, from the interface for programs."""
    by_place = {}
    for image in result(client, study)["results"][0]["images"]:
        (found,) = [one for one in image["findings"] if one["label"] == "effusion"]
        by_place[int(image["image"].rsplit(".", 1)[1]) - 1] = found["probability"]
    return [by_place[place] for place in range(DEPTH)]


def test_the_overlay_of_each_slice_is_its_own_and_as_strong_as_the_model_was_sure(client: TestClient) -> None:
    sure = numbers(client)
    for place in range(DEPTH):
        plane = opacity(evidence(client, 1, place=place))
        if place not in SHOWN:
            assert not plane.any()
            continue
        rows = np.flatnonzero(plane.any(axis=1))
        assert (rows[0], rows[-1]) == pytest.approx((SHOWN[place], SHOWN[place] + 7), abs=1)
        assert plane.max() == pytest.approx(255 * sure[place] / max(sure), abs=1)
    assert evidence(client, 1, place=DEPTH).status_code == 404


def test_the_strip_under_the_slider_shows_the_probability_along_the_slices(client: TestClient) -> None:
    sure = numbers(client)
    assert len(set(sure)) > 1, "or the order is not seen"
    shares = evidence(client, 1, "/profile").json()["shares"]
    assert shares == pytest.approx([one / max(sure) for one in sure], abs=1e-3)


def test_a_slice_that_was_not_judged_says_so_and_the_others_go_on(client: TestClient) -> None:
    assert "1 of 9 images were left out" in result(client, "1.2.4")["reason"]
    assert opacity(evidence(client, 2, place=3)).any()
    answer = evidence(client, 2, place=6)
    assert (answer.status_code, answer.json()["detail"]) == (404, "the model did not judge this slice")
    assert evidence(client, 2, "/profile").json()["shares"][6] == 0


def test_the_page_offers_overlays_where_they_can_be_drawn_and_nowhere_else(client: TestClient) -> None:
    page = client.get("/studies/1").text
    assert page.count("data-evidence") == 3
    frames = next(one for one in result(client, "1.2.5")["results"][0]["images"] if one["error"])
    assert "volume" in frames["error"]
    page = client.get("/studies/3").text
    assert page.count("data-evidence") == page.count('data-image="1"') == 3, "of the single slice, not of the frames"


def test_the_most_urgent_slices_are_drawn_and_the_report_has_all(client: TestClient, parts: Parts) -> None:
    found = result(client)
    kinds = [one["kind"] for one in found["objects"]]
    assert (kinds.count("sr"), kinds.count("sc")) == (1, 2)
    assert kinds.count("pm") >= 2, "mass is present on every slice"
    every = [pydicom.dcmread(path) for path in (parts.service.folder / "results").rglob("*.dcm")]
    written = [one for one in every if one.StudyInstanceUID == "1.2.3"]
    assert len(written) == len(kinds)
    maps = [int(one.InstanceNumber) for one in written if one.SeriesDescription.startswith("AI evidence")]
    assert sorted(maps) == list(range(1, kinds.count("pm") + 1))
    captures = [one for one in written if one.SeriesDescription.startswith("AI overlay")]
    assert sorted(one.InstanceNumber for one in captures) == [1, 2]
    report = next(one for one in written if one.Modality == "SR")
    referenced = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert len(referenced) == DEPTH
