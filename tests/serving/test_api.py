"""The REST interface and STOW-RS: what they answer, what is too large or too much, and how a model is exchanged."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from serving_images import content, radiograph
from serving_site import Site
from sqlalchemy import select

from resight.serving import verify_trail
from resight.serving.audit_trail import changed_objects
from resight.serving.schema import Study

MEGABYTE = 2**20


def png(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 40), dtype=np.uint8)
    Picture.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def predict(site: Site, *files: bytes, **data: str):
    given = [("files", (f"{number}.bin", file)) for number, file in enumerate(files)]
    return site.client.post("/api/predict", files=given, data=data, headers=site.as_("service"))


def stow(site: Site, *parts: bytes, path: str = "/dicom-web/studies", kind: str = "", end: bytes = b"--B--\r\n"):
    body = b"".join(b"--B\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n" for part in parts) + end
    headers = site.as_("service") | {"Content-Type": kind or 'multipart/related; type="application/dicom"; boundary=B'}
    return site.client.post(path, content=body, headers=headers)


def test_a_bad_file_is_named_and_the_others_are_answered(site: Site) -> None:
    answer = predict(site, png(), b"no image", content(radiograph()))
    assert answer.status_code == 200
    found = answer.json()
    assert found["calibrated"]
    assert found["operating_point"] == "youden"
    assert found["use"].lower().startswith("for research use only")
    first, bad, third = found["images"]
    assert bad["error"]
    assert bad["findings"] == []
    for image in (first, third):
        assert [one["label"] for one in image["findings"]] == ["effusion", "nodule"]
        for one in image["findings"]:
            assert one["decision"] == int(one["probability"] >= one["threshold"])
    again = predict(site, png()).json()["images"][0]["findings"]
    assert [one["probability"] for one in again] == pytest.approx([one["probability"] for one in first["findings"]])


def test_predict_says_what_is_wrong_with_a_request(site: Site) -> None:
    headers = site.as_("service")
    assert site.client.post("/api/predict", data={"model": "chest"}, headers=headers).status_code == 400
    assert predict(site, png(), model="other").status_code == 404
    assert predict(site, *[b"x"] * 65).status_code == 400
    answer = site.client.post("/api/predict", files=[("files", png())], data={"colour": "red"}, headers=headers)
    assert (answer.status_code, "unknown field" in answer.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    "body",
    [b"--b\r\n5.85e+16--b--\r\n", b'--b\r\nContent-Disposition: form-data; name="files"', b"--b", b"", b"x" * 300],
)
def test_a_damaged_form_is_told_so_and_its_place_is_free_again(site: Site, body: bytes) -> None:
    headers = site.as_("service") | {"Content-Type": "multipart/form-data; boundary=b"}
    for _ in range(4):  # more than are worked on at once
        answer = site.client.post("/api/predict", content=body, headers=headers)
        assert answer.status_code == 400, answer.text
        assert answer.json()["detail"]


def test_too_much_at_once_is_told_to_come_back_and_then_served(site: Site) -> None:
    slots = site.parts.slots
    taken = [slots.acquire(blocking=False) for _ in range(3)]
    assert taken == [True, True, False]
    answer = predict(site, png())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    slots.release()
    slots.release()
    assert predict(site, png()).status_code == 200


@pytest.mark.parametrize("path", ["/api/predict", "/dicom-web/studies", "/login"])
def test_a_body_above_the_cap_is_cut_off_whether_announced_or_not(site: Site, path: str) -> None:
    headers = site.as_("service") | {"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}
    if path != "/dicom-web/studies":
        headers["Content-Type"] = "multipart/form-data; boundary=B"
    start = (
        b'--B\r\nContent-Disposition: form-data; name="files"; filename="a"\r\nContent-Type: application/dicom\r\n\r\n'
    )
    sent = 0

    def drip() -> Iterator[bytes]:
        nonlocal sent
        yield start
        for _ in range(4):
            sent += 1
            yield b"x" * (MEGABYTE // 2)

    assert site.client.post(path, content=start + b"x" * MEGABYTE, headers=headers).status_code == 413
    assert site.client.post(path, content=drip(), headers=headers).status_code == 413
    assert list((site.parts.service.folder / "incoming").iterdir()) == []


def test_a_study_is_kept_reported_and_fetched(site: Site) -> None:
    uid = site.uid()
    answer = stow(site, content(radiograph(study=uid)), content(radiograph(1, study=uid, number=2)))
    assert answer.status_code == 200
    assert [one["00081155"]["Value"] for one in answer.json()["00081199"]["Value"]] == [[f"{uid}.1"], [f"{uid}.2"]]
    site.work()
    found = site.study(uid)
    assert found["state"] == "done"
    assert found["instances"] == 2
    report = found["objects"][0]["sop_uid"]
    fetched = site.client.get(f"/api/studies/{uid}/objects/{report}", headers=site.as_("reader"))
    assert pydicom.dcmread(io.BytesIO(fetched.content)).SOPInstanceUID == report
    assert site.client.get(f"/api/studies/{site.uid()}/objects/{report}", headers=site.as_("reader")).status_code == 404
    row = next(r for r in site.client.get("/api/studies", headers=site.as_("reader")).json() if r["study_uid"] == uid)
    assert row["risk"] == found["risk"]
    assert stow(site, content(radiograph(study=uid))).status_code == 200  # sent again: known, and no second result
    site.work()
    assert len(site.study(uid)["results"]) == 1
    assert site.study(uid)["instances"] == 2


def test_stow_refuses_what_it_cannot_keep_and_says_which(site: Site) -> None:
    uid, good = site.uid(), content(radiograph(study="1.2.826.8.1"))
    mixed = stow(site, good, b"no DICOM")
    assert mixed.status_code == 202
    assert mixed.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xC000]
    other = stow(site, good, path=f"/dicom-web/studies/{uid}")
    assert other.status_code == 409
    assert other.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA900]
    assert stow(site, good, kind="application/dicom").status_code == 415
    assert stow(site, good, end=b"").status_code == 400
    assert stow(site, end=b"").status_code == 400
    assert stow(site, good, path="/dicom-web/studies/x' OR 1=1").status_code in (404, 422)
    assert list((site.parts.service.folder / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "x'; DROP TABLE studies; --", '" OR ""="', "%", "\x00", "1.2' UNION SELECT"]
)
def test_sql_in_any_field_is_text(site: Site, text: str) -> None:
    headers = site.as_("admin")
    assert site.client.get("/api/studies", params={"state": text}, headers=headers).json() == [] or len(text) > 20
    for path in ("/api/studies/{}", "/api/models/{}/reload", "/api/studies/{}/retry"):
        method = "GET" if path == "/api/studies/{}" else "POST"
        quoted = path.format("".join(f"%{byte:02X}" for byte in text.encode()))
        assert site.client.request(method, quoted, headers=headers).status_code in (404, 422)
    assert site.client.get("/api/audit", params={"after": text}, headers=headers).status_code == 422
    uid = site.uid()
    site.accept(content(radiograph(study=uid, PatientID=text.replace("\x00", ""), AccessionNumber="'; DELETE")))
    rows = site.client.get("/api/studies", headers=headers).json()
    assert next(row for row in rows if row["study_uid"] == uid)["accession_number"] == "'; DELETE"
    assert site.client.get("/api/models", headers={"Authorization": "Bearer ' OR 1=1 --"}).status_code == 401
    site.work()


@pytest.mark.parametrize("name", ["..%2f..%2fetc%2fpasswd", "%2e%2e%2fsettings", "....%5c%5cetc", "%00"])
def test_no_path_leads_out(site: Site, name: str) -> None:
    for path in (f"/static/{name}", f"/api/studies/{name}", f"/api/studies/1.2/objects/{name}"):
        answer = site.client.get(path, headers=site.as_("admin"))
        assert answer.status_code in (404, 422)
        assert "root:" not in answer.text


def test_an_uploaded_name_leads_nowhere(site: Site, tmp_path: Path) -> None:
    files = [("files", ("../../../escaped.png", png()))]
    assert site.client.post("/api/predict", files=files, headers=site.as_("service")).status_code == 200
    folder = site.parts.service.folder
    assert not list(folder.parent.rglob("escaped*"))
    assert list((folder / "incoming").iterdir()) == []


def test_figures_for_prometheus_name_no_study(site: Site) -> None:
    uid = site.uid()
    site.client.get(f"/api/studies/{uid}", headers=site.as_("reader"))
    text = site.client.get("/api/metrics", headers=site.as_("service")).text
    assert 'resight_requests_total{method="GET",route="/api/studies/{study_uid}",status="404"}' in text
    assert "resight_studies" in text
    assert uid not in text


def test_health_says_when_no_study_can_be_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert site.client.get("/api/health").json() == {"status": "ok"}
    limits = site.parts.service.settings.limits
    monkeypatch.setattr(site.parts.service, "settings", _with_limits(site, free_disk_mb=10**9))
    assert site.client.get("/api/health").status_code == 503
    refused = stow(site, content(radiograph(study=site.uid())))
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    monkeypatch.setattr(site.parts.service, "settings", _with_limits(site, free_disk_mb=limits.free_disk_mb))
    assert site.client.get("/api/health").status_code == 200


def _with_limits(site: Site, **changes: object):
    settings = site.parts.service.settings
    return settings.model_copy(update={"limits": settings.limits.model_copy(update=changes)})


def test_a_model_is_exchanged_and_both_versions_stay_on_record(site: Site) -> None:
    bundle = site.parts.models.entries()[0].bundle
    before = bundle / "manifest.json"
    kept = before.read_bytes()
    headers = site.as_("admin")
    old, new = site.uid(), site.uid()
    site.accept(content(radiograph(study=old)))
    site.work()
    first = site.study(old)["results"][0]["version"]
    try:
        change_manifest(bundle, sentinels={"reliability": {}, "limits": []})
        loaded = site.client.post("/api/models/chest/reload", headers=headers)
        assert loaded.status_code == 200
        assert loaded.json()["version"] == sha256(before.read_bytes()).hexdigest() != first
        rows = site.client.get("/api/models", headers=headers).json()
        assert [(row["version"] == first, row["active"]) for row in rows] == [(False, True), (True, False)]
        # the new one watches for images that show nothing, and refuses them
        site.accept(content(radiograph(study=new, PixelData=bytes([90]) * 64 * 64)))
        site.work()
        found = site.study(new)
        assert found["state"] == "refused"
        assert found["reason"] == "refused: nothing can be seen (sentinel constant)"
        assert found["objects"] == []
        assert site.study(old)["results"][0]["version"] == first
        # a damaged bundle is turned down, and the one in service goes on
        (bundle / "model.safetensors").write_bytes((bundle / "model.safetensors").read_bytes()[:-1] + b"x")
        assert site.client.post("/api/models/chest/reload", headers=headers).status_code == 409
        assert predict(site, png()).status_code == 200
    finally:
        golden = Path(__file__).parents[1] / "golden" / "bundle_v1"
        shutil.copytree(golden, bundle, dirs_exist_ok=True)
        assert before.read_bytes() == kept
        assert site.client.post("/api/models/chest/reload", headers=headers).status_code == 200
    said = site.client.get("/api/audit", params={"limit": 1000}, headers=headers).json()
    actions = [entry["action"] for entry in said if entry["subject"] == "model chest"]
    assert "model refused" in actions
    exchanged = [
        json.loads(e["details"]) for e in said if e["action"] == "model in service" and e["actor"] != "service"
    ]
    assert exchanged[0]["before"] == first
    with site.parts.service.store.read() as session:
        assert verify_trail(session) == []


def change_manifest(bundle: Path, **changes: object) -> None:
    path = bundle / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    (bundle / "manifest.json.sha256").write_text(f"{sha256(path.read_bytes()).hexdigest()}  manifest.json\n")


def test_retry_queues_a_study_again(site: Site) -> None:
    uid = site.uid()
    site.accept(content(radiograph(study=uid, Modality="MG")))
    site.work()
    assert site.study(uid)["state"] == "refused"
    answer = site.client.post(f"/api/studies/{uid}/retry", headers=site.as_("admin"))
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    site.work()
    assert site.study(uid)["state"] == "refused"


def test_a_changed_or_removed_file_is_found(site: Site) -> None:
    uid, service = site.uid(), site.parts.service
    site.accept(content(radiograph(study=uid)))
    site.work()

    def problems() -> list[str]:
        with service.store.read() as session:
            return changed_objects(session, service.folder)

    assert problems() == []
    with service.store.read() as session:
        study = session.scalars(select(Study).where(Study.study_uid == uid)).one()
        image, report = study.instances[0], study.predictions[0].objects[0]
    for path, name in ((service.folder / image.file, "instances"), (service.folder / report.file, "result_objects")):
        kept = path.read_bytes()
        path.write_bytes(kept[:200] + bytes([kept[200] ^ 1]) + kept[201:])
        (problem,) = problems()
        assert problem.startswith(name)
        assert problem.endswith("its file was changed")
        path.unlink()
        assert problems()[0].endswith("its file is missing")
        path.write_bytes(kept)
    assert problems() == []
