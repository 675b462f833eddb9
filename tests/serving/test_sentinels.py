"""Sentinels fitted on chest radiographs, from the DICOM object that comes in to what worklist, report and trail say."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from fastapi.testclient import TestClient
from review_service import model_settings, take_in, write_bundle
from serving_images import radiograph

from resight.cohorts.phantom import PhantomOptions, render
from resight.imaging import Sentinels
from resight.preprocess import Recipe
from resight.serving import ServiceSettings
from resight.serving.accounts import add_token
from resight.serving.app import build_app
from resight.serving.parts import Parts
from resight.serving.service import Service
from resight.types import Image

FITTED, SIDE_PX = 150, 128
OPTIONS = PhantomOptions(images=FITTED + 20, size_px=SIDE_PX)


def chest(index: int) -> np.ndarray:
    return render(OPTIONS, index).pixels


def disc() -> np.ndarray:
    """As a slice of a head: bright, round, on black."""
    picture = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    cv2.ellipse(picture, (SIDE_PX // 2, SIDE_PX // 2), (45, 55), 0, 0, 360, 230, -1)
    cv2.ellipse(picture, (SIDE_PX // 2, SIDE_PX // 2), (38, 48), 0, 0, 360, 90, -1)
    return picture


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Parts, TestClient]]:
    folder = tmp_path_factory.mktemp("sentinels")
    recipe = Recipe(size_px=(32, 32))
    images = [Image(chest(i)[None], (1.0, 1.0), "DX", str(i)) for i in range(FITTED)]
    fitted = Sentinels.fit(np.stack([recipe.apply(image) for image in images]))
    assert {"rotated", "inverted", "wrong-modality"} <= set(fitted.active())
    entry = model_settings(write_bundle(folder / "bundle", sentinels=fitted.to_dict()))
    del entry["refuse"]
    models = [{**entry, "expects": "frontal chest radiograph", "objects": ("sr",)}]
    settings = ServiceSettings.model_validate({"folder": folder / "service", "quiet_s": 0, "models": models})
    with Parts(Service(settings)) as parts:
        with parts.service.store.write() as session:
            token = add_token(session, "admin", "admin", by="test")
        with TestClient(build_app(parts), headers={"Authorization": f"Bearer {token}"}) as client:
            yield parts, client


CASES: dict[str, tuple[Callable[[], np.ndarray], str]] = {
    "turned": (lambda: np.rot90(chest(FITTED + 1)), "not upright (sentinel rotated)"),
    "negative": (lambda: 255 - chest(FITTED + 2), "black and white are exchanged (sentinel inverted)"),
    "a head": (disc, "not a frontal chest radiograph (sentinel wrong-modality)"),
    "black": (lambda: np.zeros((SIDE_PX, SIDE_PX), np.uint8), "nothing can be seen (sentinel constant)"),
}


def sent(parts: Parts, uid: str, *pictures: np.ndarray) -> None:
    pixels = [np.ascontiguousarray(picture).tobytes() for picture in pictures]
    take_in(
        parts,
        *(radiograph(study=uid, number=i, size_px=SIDE_PX, PixelData=one) for i, one in enumerate(pixels, start=1)),
    )


@pytest.mark.parametrize("name", CASES)
def test_another_picture_is_refused_with_the_reason_and_gets_no_result(clinic, name: str) -> None:
    parts, client = clinic
    make, reason = CASES[name]
    uid = f"1.2.826.9.{list(CASES).index(name)}"
    sent(parts, uid, make())
    found = client.get(f"/api/studies/{uid}").json()
    assert found["state"] == "refused"
    assert reason in found["reason"]
    assert found["results"] == found["objects"] == []
    assert found["risk"] is None
    assert reason in client.get("/worklist", params={"sort": "newest"}).text
    trail = client.get("/api/audit", params={"limit": 1000}).json()
    assert any(entry["action"] == "study worked on" and reason in entry["details"] for entry in trail)


def test_chest_radiographs_are_answered(clinic) -> None:
    parts, client = clinic
    for index in range(FITTED + 5, FITTED + 10):
        uid = f"1.2.826.10.{index}"
        sent(parts, uid, chest(index))
        found = client.get(f"/api/studies/{uid}").json()
        assert (found["state"], found["reason"]) == ("done", "")
        assert [one["kind"] for one in found["objects"]] == ["sr"]


def test_of_a_study_with_both_the_radiograph_is_answered_and_the_other_left_out(clinic) -> None:
    parts, client = clinic
    sent(parts, "1.2.826.11", chest(FITTED + 11), disc())
    found = client.get("/api/studies/1.2.826.11").json()
    assert found["state"] == "done"
    assert "1 of 2 images were left out" in found["reason"]
    assert "not a frontal chest radiograph" in found["reason"]
    answered, refused = found["results"][0]["images"]
    assert all(one["decision"] is not None for one in answered["findings"])
    assert all(one["decision"] is None for one in refused["findings"])
    assert "not a frontal chest radiograph" in refused["error"]


def test_an_uploaded_file_is_refused_in_the_same_words(clinic, tmp_path: Path) -> None:
    _, client = clinic
    ok, png = cv2.imencode(".png", disc())
    assert ok
    answer = client.post("/api/predict", files=[("files", ("head.png", png.tobytes()))]).json()
    assert "not a frontal chest radiograph" in answer["images"][0]["error"]
