"""Pixels for the viewer: values in units of the modality, windows, volumes, and evidence as a transparent picture."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from review_service import ct_slice, deep, model_settings, take_in, write_bundle
from serving_images import radiograph
from sqlalchemy import select

from resight.serving import ServiceSettings, views
from resight.serving.accounts import add_token
from resight.serving.app import build_app
from resight.serving.overlays import coloured
from resight.serving.parts import Parts
from resight.serving.schema import AuditEntry
from resight.serving.service import Service
from resight.serving.views import Views


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """Study 1: 12 bits; 2: the same with low values white; 3: CT of 9 slices; 4: colour; 5: pixels that are cut off."""
    folder = tmp_path_factory.mktemp("viewer")
    models = [model_settings(write_bundle(folder / "bundle"))]
    settings = ServiceSettings.model_validate({"folder": folder / "service", "quiet_s": 0, "models": models})
    with Parts(Service(settings)) as parts:
        take_in(parts, deep(1, study="1.2.1"))
        take_in(parts, deep(1, study="1.2.2", PhotometricInterpretation="MONOCHROME1"))
        take_in(parts, *(ct_slice(place, study="1.2.3") for place in range(9)))
        red = np.zeros((64, 64, 3), np.uint8)
        red[..., 0] = 200
        colour = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        take_in(parts, radiograph(study="1.2.4", Modality="US", PixelData=red.tobytes(), **colour))
        take_in(parts, radiograph(study="1.2.5", PixelData=b"\0\0"))
        with parts.service.store.write() as session:
            token = add_token(session, "viewer", "reader", by="test")
        with TestClient(build_app(parts), headers={"Authorization": f"Bearer {token}"}) as client:
            yield client


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)


def modality_values(client: TestClient, study: int, place: int = 0) -> np.ndarray:
    facts = client.get(f"/studies/{study}/images/0").json()
    raw = client.get(f"/studies/{study}/images/0/values", params={"place": place}).content
    stored = np.frombuffer(raw, "<u2").reshape(facts["height"], facts["width"])
    return facts["low"] + stored * (facts["high"] - facts["low"]) / 65535


@pytest.mark.parametrize("study", [1, 2])
def test_every_stored_value_comes_back_whichever_way_it_is_shown(client: TestClient, study: int) -> None:
    truth = np.frombuffer(deep(1).PixelData, "<u2").reshape(64, 64)
    np.testing.assert_array_equal(np.rint(modality_values(client, study)), truth)
    facts = client.get(f"/studies/{study}/images/0").json()
    assert facts["inverted"] is (study == 2)
    assert (facts["window_center"], facts["window_width"]) == (2000, 2000)
    assert facts["spacing_mm"] == [0.2, 0.2]


@pytest.mark.parametrize(("center", "width"), [(2000, 2000), (1000, 400), (3500, 50)])
def test_the_window_of_a_picture_is_the_one_asked_for(client: TestClient, center: float, width: float) -> None:
    truth = np.frombuffer(deep(1).PixelData, "<u2").reshape(64, 64).astype(float)
    expected = np.clip((truth - center) / width + 0.5, 0, 1) * 255
    window = {"center": center, "width": width}
    shown = decoded(client.get("/studies/1/images/0/picture", params=window).content)
    assert np.abs(shown - expected).max() <= 1
    inverted = decoded(client.get("/studies/2/images/0/picture", params=window).content)
    assert np.abs(inverted - (255 - expected)).max() <= 1


def test_a_series_is_one_volume_in_hounsfield_units(client: TestClient) -> None:
    facts = client.get("/studies/3/images/0").json()
    assert (facts["slices"], facts["unit"]) == (9, "HU")
    assert client.get("/studies/3/images/1").status_code == 404
    for place in range(9):
        assert np.allclose(modality_values(client, 3, place), -1000 + 100 * place, atol=0.02)
    assert client.get("/studies/3/images/0/values?place=9").status_code == 404


def test_colour_stays_colour(client: TestClient) -> None:
    facts = client.get("/studies/4/images/0").json()
    assert (facts["channels"], facts["bytes"]) == (3, 1)
    assert client.get("/studies/4/images/0/values").content[:3] == bytes([200, 0, 0])
    assert decoded(client.get("/studies/4/images/0/picture").content)[0, 0].tolist() == [0, 0, 200]


def test_an_image_that_cannot_be_read_says_why(client: TestClient) -> None:
    answer = client.get("/studies/5/images/0")
    assert answer.status_code == 422
    assert "Secretname" not in answer.text
    assert len(answer.json()["detail"]) > 10


@pytest.mark.parametrize(
    "query", ["width=0", "width=-4", "center=nan", "width=inf", "center=x", "place=-1", "place=99999"]
)
def test_impossible_windows_and_slices_are_refused(client: TestClient, query: str) -> None:
    assert client.get(f"/studies/1/images/0/picture?{query}").status_code in (404, 422)


def test_evidence_lies_on_the_grid_of_the_image_and_leaves_the_rest_clear(client: TestClient) -> None:
    version = client.get("/api/studies/1.2.1").json()["results"][0]["version"]
    asked = {"model": "chest", "version": version, "label": "mass"}
    plane = decoded(client.get("/studies/1/images/0/evidence", params=asked).content)
    assert plane.shape == (64, 64, 4)
    assert plane[..., 3].max() == 255
    for wrong in ({"version": "0" * 64}, {"label": "fracture"}, {"model": "other"}):
        answer = client.get("/studies/1/images/0/evidence", params=asked | wrong)
        assert answer.status_code == 404


def entries(client: TestClient, study: int, action: str) -> int:
    parts: Parts = client.app.state.parts  # type: ignore[attr-defined]
    with parts.service.store.read() as session:
        wanted = select(AuditEntry).where(AuditEntry.subject == f"study {study}", AuditEntry.action == action)
        return len(session.scalars(wanted).all())


@pytest.mark.parametrize("path", ["", "/values", "/picture"])
def test_pixels_fetched_by_whatever_way_stand_in_the_trail_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    client.app.state.views = Views(client.app.state.parts)  # type: ignore[attr-defined]
    before = entries(client, 3, "image viewed")
    for place in range(4):
        assert client.get(f"/studies/3/images/0{path}", params={"place": place}).status_code == 200
    assert entries(client, 3, "image viewed") == before + 1
    monkeypatch.setattr(views, "_VIEW_S", -1.0)  # later it is another look
    client.get(f"/studies/3/images/0{path}")
    assert entries(client, 3, "image viewed") == before + 2


def test_evidence_looked_at_stands_in_the_trail_by_label(client: TestClient) -> None:
    version = client.get("/api/studies/1.2.1").json()["results"][0]["version"]
    before = entries(client, 2, "evidence viewed")
    for label in ("mass", "nodule", "mass", "fracture"):
        asked = {"model": "chest", "version": version, "label": label}
        client.get("/studies/2/images/0/evidence", params=asked)
    assert entries(client, 2, "evidence viewed") == before + 2


def test_strong_evidence_covers_and_weak_evidence_is_left_out() -> None:
    evidence = np.array([[0.0, 0.1, 0.5, 1.0]]) * 7
    plane = coloured(evidence, 7.0, 0)
    assert plane[0, :, 3].tolist() == [0, 0, 128, 255]
    assert plane[0, 0, :3].tolist() == [0, 159, 230], "orange, blue first"
    assert coloured(evidence, 14.0, 0)[0, :, 3].tolist() == [0, 0, 64, 128], "of a volume whose peak is elsewhere"
    assert not coloured(np.zeros((2, 2)), 0.0, 1)[..., 3].any()
