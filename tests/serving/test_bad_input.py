"""What goes wrong in a hospital, one by one: a clear state in the worklist, no name in the log, the study kept."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import threading
from datetime import timedelta
from html import escape
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE
from serving_images import DX, content, radiograph
from serving_processes import MODEL, Served, wait_until
from serving_site import Site, make_settings
from sqlalchemy import select

from resight.errors import OutputError
from resight.imaging import sandbox
from resight.serving.parts import Parts
from resight.serving.rounds import Rounds
from resight.serving.row import now
from resight.serving.schema import Instance, Study
from resight.serving.service import Service
from resight.serving.worker import Worker

REPORT, RT_PLAN = "1.2.840.10008.5.1.4.1.1.88.11", "1.2.840.10008.5.1.4.1.1.481.5"


@pytest.fixture(autouse=True)
def _no_names(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    yield
    for name in ("Secretname", "SECRETID", "Jane"):
        assert name not in caplog.text


def private_syntax(dataset: Dataset) -> bytes:
    return content(dataset).replace(b"1.2.840.10008.1.2.1\x00", b"1.2.826.999.1.2.1\x00\x00\x00")


def multi_frame(uid: str) -> bytes:
    return content(radiograph(study=uid, NumberOfFrames=3, PixelData=bytes(64 * 64 * 3)))


CASES = {
    "a report": (lambda uid: content(radiograph(study=uid, SOPClassUID=REPORT, PixelData=None)), "refused", "no image"),
    "a plan": (lambda uid: content(radiograph(study=uid, SOPClassUID=RT_PLAN, PixelData=None)), "refused", "no image"),
    "an unknown SOP class": (
        lambda uid: content(radiograph(study=uid, SOPClassUID="1.2.840.10008.4.1.1.1.1")),
        "refused",
        "no standard class",
    ),
    "no pixel data": (lambda uid: content(radiograph(study=uid, PixelData=None)), "refused", "without pixel data"),
    "no rows": (lambda uid: content(radiograph(study=uid, Rows=None)), "refused", "no image"),
    "several frames": (multi_frame, "failed", "3 spatial axes"),
    "a private transfer syntax": (lambda uid: private_syntax(radiograph(study=uid)), "failed", "transfer syntax"),
    "short pixel data": (lambda uid: content(radiograph(study=uid, PixelData=bytes(100))), "failed", ""),
    "another modality": (lambda uid: content(radiograph(study=uid, Modality="MG")), "refused", "no model answers"),
    "too many pixels": (lambda uid: content(radiograph(study=uid, Rows=60000, Columns=60000)), "failed", "pixels"),
}


@pytest.mark.parametrize("name", CASES)
def test_it_has_a_clear_state_and_is_kept(site: Site, name: str) -> None:
    make, state, reason = CASES[name]
    uid = site.uid()
    data = make(uid)
    assert site.accept(data).state == "kept"
    site.work()
    found = site.study(uid)
    assert found["state"] == state, found["reason"]
    assert found["reason"]
    assert reason in found["reason"]
    assert found["objects"] == []
    with site.parts.service.store.read() as session:
        instance = session.scalars(select(Instance).join(Study).where(Study.study_uid == uid)).one()
        study = session.get_one(Study, instance.study_pk)
        # the same bytes would give the same error; a person may still queue the study again
        assert (study.attempts, study.next_attempt_at) == (1, None)
    assert (site.parts.service.folder / instance.file).read_bytes() == data


@pytest.mark.parametrize("charset", ["ISO_IR 999", "nonsense", "ISO 2022 IR 87\\ISO 2022 IR 149"])
def test_an_unknown_character_set_costs_the_name_and_not_the_study(site: Site, charset: str) -> None:
    uid = site.uid()
    data = content(radiograph(study=uid)).replace(b"ISO_IR 192", charset[:10].ljust(10).encode())
    assert site.accept(data).state == "kept"
    site.work()
    assert site.study(uid)["state"] == "done"


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_an_object_that_does_not_say_what_it_is_is_refused(site: Site, keyword: str) -> None:
    dataset = radiograph(study=site.uid())
    delattr(dataset, keyword)
    outcome = site.accept(content(dataset))
    assert outcome.state == "refused"
    assert keyword in outcome.reason


@pytest.mark.parametrize("data", [b"", b"DICM", b"\x00" * 128 + b"DICM", os.urandom(5000), b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_dicom_is_refused_and_said_so_in_the_trail(site: Site, data: bytes) -> None:
    assert site.accept(data).state == "refused"
    assert list((site.parts.service.folder / "incoming").iterdir()) == []
    last = site.client.get("/api/audit", params={"limit": 1000}, headers=site.as_("admin")).json()
    assert any(entry["action"] == "object refused" and entry["actor"] == "test" for entry in last)


def test_another_object_under_a_known_uid_is_refused(site: Site) -> None:
    uid = site.uid()
    assert site.accept(content(radiograph(study=uid))).state == "kept"
    assert site.accept(content(radiograph(study=uid))).state == "known"
    for other in (radiograph(study=uid, size_px=32), radiograph(1, study=uid)):  # the second one is of the same size
        outcome = site.accept(content(other))
        assert outcome.state == "refused"
        assert "same SOP instance UID" in outcome.reason
    site.work()
    assert site.study(uid)["instances"] == 1
    last = site.client.get("/api/audit", params={"limit": 1000}, headers=site.as_("admin")).json()
    assert sum("another object" in entry["details"] for entry in last) >= 2


def test_the_same_object_with_other_file_meta_information_is_known(site: Site) -> None:
    dataset = radiograph(study=site.uid())
    assert site.accept(content(dataset)).state == "kept"
    dataset.file_meta.ImplementationVersionName = "ANOTHER"
    dataset.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    assert site.accept(content(dataset)).state == "known"
    site.work()


def test_a_length_that_hides_the_content_makes_nothing_the_same(site: Site) -> None:
    data = content(radiograph(study=site.uid()))
    assert site.accept(data).state == "kept"
    changed = bytearray(data)
    changed[140:144] = len(data).to_bytes(4, "little")
    changed[-1] ^= 1
    assert site.accept(bytes(changed)).state == "refused"
    site.work()


def test_a_full_disk_refuses_and_then_takes_the_same_object(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = site.uid()
    data = content(radiograph(study=uid))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OutputError, match="cannot be kept"):
            site.accept(data)
    assert site.client.get(f"/api/studies/{uid}", headers=site.as_("reader")).status_code == 404
    assert site.accept(data).state == "kept"
    # it fills while the results are written: the study waits and is tried again
    with monkeypatch.context() as patched:
        fill_the_disk(patched)
        site.work()
    assert site.study(uid)["state"] == "failed"
    assert "could not be kept" in site.study(uid)["reason"]
    let_time_pass(site, uid)
    site.work()
    assert site.study(uid)["state"] == "done"
    assert len(site.study(uid)["results"]) == 1


def let_time_pass(site: Site, uid: str) -> None:
    with site.parts.service.store.write() as session:
        study = session.scalars(select(Study).where(Study.study_uid == uid)).one()
        assert study.next_attempt_at is not None
        study.next_attempt_at = now()


def fill_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("resight.serving.answering.write_objects", full)


def test_a_clock_set_back_does_not_leave_a_study_waiting(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = site.uid()
    fill_the_disk(monkeypatch)
    site.accept(content(radiograph(study=uid)))
    site.work()
    with site.parts.service.store.write() as session:
        study = session.scalars(select(Study).where(Study.study_uid == uid)).one()
        before, study.next_attempt_at = study.attempts, now() + timedelta(days=400)
        key = study.id
    site.work()
    with site.parts.service.store.read() as session:
        assert session.get_one(Study, key).attempts == before + 1


def test_a_clock_set_forward_shortens_a_wait_and_loses_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = site.uid()
    site.accept(content(radiograph(study=uid)))
    with monkeypatch.context() as patched:
        fill_the_disk(patched)
        site.work()
        assert site.study(uid)["state"] == "failed"
    with monkeypatch.context() as patched:
        patched.setattr("resight.serving.worker.now", lambda: now() + timedelta(days=4000))
        site.work()
    assert site.study(uid)["state"] == "done"


def test_an_image_whose_reading_ran_out_of_time_is_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = site.uid()
    site.accept(content(radiograph(study=uid)))

    def too_slow(*_: object) -> bytes:
        raise sandbox._TooSlowError

    with monkeypatch.context() as patched:
        patched.setattr(sandbox._Process, "_receive", too_slow)
        site.work()
    assert "takes more than" in site.study(uid)["reason"]
    let_time_pass(site, uid)
    site.work()
    assert site.study(uid)["state"] == "done"


def test_an_error_that_nobody_foresaw_fails_one_study_and_not_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = site.uid(), site.uid()
    site.accept(content(radiograph(study=first)))

    def surprise(*_: object) -> None:
        raise KeyError("Secretname^Jane")

    with monkeypatch.context() as patched:
        patched.setattr("resight.serving.answering.write_objects", surprise)
        site.work()
    found = site.study(first)
    assert found["state"] == "failed"
    assert "not foreseen (KeyError at test_bad_input.py:" in found["reason"]
    site.accept(content(radiograph(study=second)))
    site.work()
    assert site.study(second)["state"] == "done"


def test_a_thread_goes_on_after_an_error_that_nobody_foresaw(caplog: pytest.LogCaptureFixture) -> None:
    class Stumbles(Rounds):
        seen = 0

        def round(self) -> None:
            self.seen += 1
            if self.seen == 1:
                raise KeyError("Secretname^Jane")
            self._stopping.set()

    with Stumbles(threading.Event(), "stumbler", 0.001) as one:
        one._thread.join(timeout=20)
    assert one.seen == 2
    assert "the stumbler waits: KeyError at test_bad_input.py:" in caplog.text


def test_a_study_is_tried_only_so_often(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = site.uid()
    fill_the_disk(monkeypatch)
    site.accept(content(radiograph(study=uid)))
    site.work()
    most = site.parts.service.settings.limits.attempts
    for _ in range(most - 1):
        let_time_pass(site, uid)
        site.work()
    with site.parts.service.store.read() as session:
        study = session.scalars(select(Study).where(Study.study_uid == uid)).one()
        assert (study.state, study.attempts, study.next_attempt_at) == ("failed", most, None)


def test_a_study_is_held_until_its_bundle_passes(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "golden" / "bundle_v1"
    bundle = shutil.copytree(golden, tmp_path / "bundle")
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    service = Service(make_settings(tmp_path, bundle))
    with Parts(service) as parts:
        assert list(parts.models.problems) == ["chest"]
        path = parts.intake.spool()
        path.write_bytes(content(radiograph()))
        parts.intake.accept(path, "test")
        worker = Worker(service, parts.intake, parts.models, parts.sandbox)

        def state() -> tuple[str, str]:
            worker.settle()
            while (study := worker.next_study()) is not None:
                worker.process(study)
            with service.store.read() as session:
                found = session.scalars(select(Study)).one()
                return found.state, found.reason

        held, reason = state()
        assert held == "held"
        assert "chest is not in service" in reason
        shutil.copytree(golden, bundle, dirs_exist_ok=True)
        parts.models.load("chest", by="test")
        assert state() == ("done", "")


@pytest.mark.slow
def test_each_of_them_is_in_the_worklist_of_a_running_service_and_in_no_log_by_name(tmp_path: Path) -> None:
    models = [{**MODEL, "refuse": []}]
    served = Served(tmp_path, models=models, limits={"pixel_values": 4_000_000, "free_disk_mb": 0, "attempts": 1})
    served.start()
    try:
        sender, reader = served.token("service"), served.token("reader")
        sent = {f"1.2.826.8.{number}": name for number, name in enumerate(CASES)}
        for uid, name in sent.items():
            assert stow(served, sender, CASES[name][0](uid)) == 200, name

        def settled() -> dict[str, dict] | None:
            rows = httpx.get(f"{served.url}/api/studies", params={"limit": 500}, headers=reader).json()
            found = {row["study_uid"]: row for row in rows}
            return found if all(row["state"] not in ("receiving", "queued") for row in rows) else None

        found = wait_until(settled, 60, "every study has a state")
        page = httpx.get(f"{served.url}/worklist", headers=reader).text
        for uid, name in sent.items():
            _, state, reason = CASES[name]
            assert found[uid]["state"] == state, (name, found[uid])
            assert reason in found[uid]["reason"]
            assert escape(found[uid]["reason"]) in page, "a person can read why"
        # what no sender may send at all
        assert stow(served, sender, b"\0" * 128 + b"DICM") == 409
        assert private_context_is_turned_down(served)
        assert len(list((served.folder / "data" / "instances").rglob("*.dcm"))) == len(CASES), "kept for another try"
    finally:
        assert served.stop() == 0
    said = served.log.read_text()
    for name in ("Secretname", "SECRETID", "Jane"):
        assert name not in said
    assert "is refused: no image" in said
    served.command("audit-log", "verify", str(served.file))


def stow(served: Served, token: dict[str, str], data: bytes) -> int:
    body = b"--B\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--B--\r\n"
    headers = token | {"Content-Type": 'multipart/related; type="application/dicom"; boundary=B'}
    return httpx.post(f"{served.url}/dicom-web/studies", content=body, headers=headers, timeout=60).status_code


def private_context_is_turned_down(served: Served) -> bool:
    entity = AE(ae_title="SENDER")
    entity.add_requested_context(DX, "1.2.826.999.1.2.1")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", served.dicom, ae_title="RESIGHT")
    accepted = {str(context.abstract_syntax) for context in association.accepted_contexts}
    association.release()
    return accepted == {"1.2.840.10008.1.1"}
