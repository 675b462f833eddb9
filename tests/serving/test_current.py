"""An image that comes after the study was answered: another answer, which the worklist shows and the report names."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from fastapi.testclient import TestClient
from review_service import deep, model_settings, take_in, write_bundle
from sqlalchemy import select

from resight.serving import ServiceSettings
from resight.serving.accounts import add_token, add_user
from resight.serving.app import build_app
from resight.serving.audit_trail import append, verify_trail
from resight.serving.current import current_predictions, is_current
from resight.serving.dashboard import group_rows
from resight.serving.parts import Parts
from resight.serving.people import Decision
from resight.serving.schema import AuditEntry, Prediction, Study
from resight.serving.service import Service
from resight.serving.worker import Worker


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    models = [{**model_settings(write_bundle(tmp_path / "bundle")), "objects": ["sr"]}]
    settings = ServiceSettings.model_validate({"folder": tmp_path / "service", "quiet_s": 0, "models": models})
    with Parts(Service(settings)) as parts:
        take_in(parts, deep(0, study="1.2.1"))
        yield parts


def answers(parts: Parts) -> list[Prediction]:
    with parts.service.store.read() as session:
        found = list(session.scalars(select(Prediction).order_by(Prediction.id)))
        for one in found:
            assert one.objects
            assert one.findings
        return found


def test_a_late_image_gives_a_result_that_names_the_one_before_and_both_are_kept(parts: Parts) -> None:
    take_in(parts, deep(1, study="1.2.1", number=2))
    first, second = answers(parts)
    reports = [pydicom.dcmread(parts.service.folder / one.objects[0].file) for one in (first, second)]
    assert "PredecessorDocumentsSequence" not in reports[0]
    (named,) = reports[1].PredecessorDocumentsSequence
    assert named.StudyInstanceUID == "1.2.1"
    (series,) = named.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == reports[0].SeriesInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == reports[0].SOPInstanceUID
    assert series.ReferencedSOPSequence[0].ReferencedSOPClassUID == reports[0].SOPClassUID
    with parts.service.store.read() as session:
        assert [one.id for one in current_predictions(session.get_one(Study, 1))] == [second.id]
        assert list(session.scalars(select(Prediction.id).where(is_current()))) == [second.id]
        assert session.get_one(Study, 1).risk == second.risk
        assert {row.present.n for row in group_rows(session, second.model_pk)} == {1}, "a study counts once"
        made = [e.details for e in session.scalars(select(AuditEntry).where(AuditEntry.action == "prediction made"))]
        assert '"supersedes":null' in made[0]
        assert f'"supersedes":{first.id}' in made[1]
        assert verify_trail(session) == []
    with parts.service.store.write() as session:
        token = add_token(session, "pacs", "service", by="test")
    with TestClient(build_app(parts), headers={"Authorization": f"Bearer {token}"}) as client:
        results = client.get("/api/studies/1.2.1").json()["results"]
    assert [(len(one["images"]), one["superseded"]) for one in results] == [(2, False), (1, True)]


def test_a_result_of_a_study_that_was_read_makes_it_unread_again(parts: Parts) -> None:
    with parts.service.store.write() as session:
        ann = add_user(session, "ann", "reader", None, by="test")
        said = Decision(study_pk=1, prediction_pk=1, label="mass", user_pk=ann.id, action="override", decision=0)
        said.reason = "A nipple shadow."
        session.add(said)
        session.flush()
        append(session, "decision made", actor="user ann", rows=[said])
        token = add_token(session, "looks", "reader", by="test")
    with TestClient(build_app(parts), headers={"Authorization": f"Bearer {token}"}) as client:

        def listed(reading: str) -> list[str]:
            return re.findall(r'data-key="(\d+)"', client.get(f"/worklist?read={reading}").text)

        assert (listed("read"), listed("unread")) == (["1"], [])
        take_in(parts, deep(1, study="1.2.1", number=2))
        assert (listed("read"), listed("unread")) == ([], ["1"])
        page = client.get("/studies/1").text
        assert "Superseded answers (1)" in page
        assert page.count("A nipple shadow.") == 0, "what somebody said stays hidden from those who have not decided"


def test_what_is_known_of_the_version_in_service_goes_before_what_another_said(parts: Parts, tmp_path: Path) -> None:
    bundle, kept = tmp_path / "bundle", tmp_path / "kept"
    bundle.rename(kept)
    write_bundle(bundle, limits=("Not at night.",))
    work = Worker(parts.service, parts.intake, parts.models, parts.sandbox)

    def exchange(source: Path | None) -> list[int]:
        if source is not None:
            shutil.copytree(source, bundle, dirs_exist_ok=True)
        parts.models.load("chest", by="test")
        work.process(1)
        with parts.service.store.read() as session:
            by_query = list(session.scalars(select(Prediction.id).where(is_current())))
            assert by_query == [one.id for one in current_predictions(session.get_one(Study, 1))]
            return by_query

    assert exchange(None) == [2]
    assert exchange(kept) == [1], "taken back: the answer of the version that is in service again"
    assert len(answers(parts)) == 2


def test_an_image_that_comes_while_the_study_is_called_complete_is_waited_for(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has looked at the arrivals and waits for the database, where an instance is being registered."""
    take_in(parts, deep(1, study="1.2.1", number=2))
    worker = Worker(parts.service, parts.intake, parts.models, parts.sandbox)
    with parts.service.store.write() as session:
        session.get_one(Study, 1).state = "receiving"
    parts.intake.arrivals[1] = 1.0
    write = parts.service.store.write

    def slow_write():
        parts.intake.arrivals[1] = 2.0
        return write()

    monkeypatch.setattr(parts.service.store, "write", slow_write)
    worker.settle()
    monkeypatch.undo()
    with parts.service.store.read() as session:
        assert session.get_one(Study, 1).state == "receiving"
    assert parts.intake.arrivals == {1: 2.0}
    worker.settle()
    with parts.service.store.read() as session:
        assert session.get_one(Study, 1).state == "queued"
    assert parts.intake.arrivals == {}
