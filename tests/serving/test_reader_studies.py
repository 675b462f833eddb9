"""Reader studies: order, blinding, wash-out, time, and the table that the analysis reads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from review_service import deep, model_settings, take_in, write_bundle
from sqlalchemy import select

from resight.errors import DataError, ResightError
from resight.serving import ServiceSettings, reader_studies
from resight.serving.accounts import add_user
from resight.serving.app import build_app
from resight.serving.audit_trail import append, verify_trail
from resight.serving.parts import Parts
from resight.serving.people import ReaderReading, ReaderStudy, User
from resight.serving.reader_pages import parse_cases
from resight.serving.row import now
from resight.serving.schema import Study
from resight.serving.service import Service
from resight.teaming import AIDED, UNAIDED, Readings, StudyOptions, analyse_study, design_study

PASSWORD = "correct horse battery staple"
CASES = 8


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(ServiceSettings.model_validate({"folder": tmp_path / "service"}))
    with service.store.write() as session:
        for name, role in (("ann", "reader"), ("bob", "reader"), ("root", "admin")):
            add_user(session, name, role, PASSWORD, by="test")
        studies = [Study(study_uid=f"1.2.{n}", patient_id=f"SECRET{n // 2}") for n in range(CASES)]
        session.add_all(studies)
        session.flush()
        append(session, "study begun", actor="test", rows=studies)
    yield service
    service.close()


def lay_out(service: Service, **changes: object) -> ReaderStudy:
    given = {"washout_days": 28, "seed": 3, "by": "user root"} | changes
    references = {key: key % 2 for key in range(1, CASES + 1)}
    with service.store.write() as session:
        return reader_studies.create(session, "Autumn", "mass", references, ("ann", "bob"), **given)


def read_all(service: Service, reader: str, rng: np.random.Generator) -> list[int]:
    """Read whatever may be read now, better with the model than without; the studies in the order they came."""
    order: list[int] = []
    while True:
        with service.store.write() as session:
            study = session.scalars(select(ReaderStudy)).one()
            user = session.scalars(select(User).where(User.name == reader)).one()
            reading = reader_studies.next_reading(session, study, user.id)
            if reading is None or not reader_studies.may_read(session, study, reading):
                return order
            reader_studies.show(session, reading, by="test")
            order.append(reading.case.study_pk)
            noise = 5 if reading.arm == AIDED else 40
            said = 30 + 40 * (reading.case.reference or 0) + rng.normal(0, noise)
            reader_studies.answer(session, reading, float(np.clip(said, 0, 100)), 12.0, by="test")


def test_unaided_first_gives_every_reader_an_order_of_its_own_in_each_session() -> None:
    images = [str(n) for n in range(30)]
    plan = design_study(images, ["mass"], StudyOptions(readers=("A", "B"), kind="unaided_first", washout_days=14))
    assert set(plan.loc[plan["session"] == 1, "arm"]) == {UNAIDED}
    assert set(plan.loc[plan["session"] == 2, "arm"]) == {AIDED}
    assert set(plan.loc[plan["session"] == 2, "day"]) == {14}
    orders = {tuple(part.sort_values("order")["image"]) for _, part in plan.groupby(["reader", "session"])}
    assert len(orders) == 4
    assert all(sorted(order) == sorted(images) for order in orders)


def test_a_study_is_read_in_the_planned_order_with_a_wash_out_and_analysed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, rng = lay_out(service), np.random.default_rng(0)
    names = [str(key) for key in range(1, CASES + 1)]
    options = StudyOptions(readers=("ann", "bob"), kind="unaided_first", seed=3)
    plan = design_study(names, ["mass"], options)
    for reader in ("ann", "bob"):
        first = plan.loc[(plan["reader"] == reader) & (plan["session"] == 1)].sort_values("order")
        assert read_all(service, reader, rng) == [int(image) for image in first["image"]]
        assert read_all(service, reader, rng) == [], "the wash-out has begun"
    monkeypatch.setattr(reader_studies, "now", lambda: now() + timedelta(days=27, hours=23))
    assert read_all(service, "ann", rng) == []
    monkeypatch.setattr(reader_studies, "now", lambda: now() + timedelta(days=28, minutes=1))
    for reader in ("ann", "bob"):
        assert len(read_all(service, reader, rng)) == CASES
    with service.store.read() as session:
        assert verify_trail(session) == []
        table = reader_studies.readings_table(session, session.get_one(ReaderStudy, study.id))
    text = table.to_csv(index=False)
    assert "SECRET" not in text
    again = Readings.from_table(pd.read_csv(io.StringIO(text), dtype={"image": str, "patient_id": str}))
    assert (again.labels, again.readers, set(again.arms)) == (("mass",), ("ann", "bob"), {UNAIDED, AIDED})
    assert again.table["patient_id"].nunique() == CASES // 2
    result = analyse_study(again, "mass", replicates=20)
    assert result.arms == (UNAIDED, AIDED)
    assert result.cases == CASES
    assert set(result.figures) >= {"auroc", "sensitivity", "specificity"}


def test_time_is_what_the_browser_counted_and_never_more_than_has_passed(service: Service) -> None:
    lay_out(service)
    with service.store.write() as session:
        study = session.scalars(select(ReaderStudy)).one()
        ann = session.scalars(select(User.id).where(User.name == "ann")).one()
        reading = reader_studies.next_reading(session, study, ann)
        assert reading is not None
        with pytest.raises(DataError, match="not shown"):
            reader_studies.answer(session, reading, 70, 1.0, by="test")
        reader_studies.show(session, reading, by="test")
        reading.shown_at = now() - timedelta(seconds=30)
        reader_studies.answer(session, reading, 70, 3600.0, by="test")
        assert reading.seconds == pytest.approx(30, abs=1)
        assert (reading.decision, reading.confidence) == (1, 70)
        with pytest.raises(DataError, match="has an answer"):
            reader_studies.answer(session, reading, 20, 1.0, by="test")


def test_cases_still_to_be_read_are_hidden_until_the_study_is_closed(service: Service) -> None:
    lay_out(service)
    with service.store.write() as session:
        people = {user.name: user.id for user in session.scalars(select(User))}
        study = session.scalars(select(ReaderStudy)).one()
        assert not reader_studies.may_see_answer(session, people["ann"], 1)
        assert reader_studies.may_see_answer(session, people["root"], 1)
        assert len(list(session.scalars(reader_studies.hidden_studies(people["ann"])))) == 2 * CASES
        reader_studies.close(session, study, by="test")
        session.flush()
        assert reader_studies.may_see_answer(session, people["ann"], 1)


@pytest.mark.parametrize(
    ("readers", "references", "found"),
    [
        (("ann",), {1: 0, 2: 1}, "readers"),
        (("ann", "root"), {1: 0, 2: 1}, "no account 'root' with the role reader"),
        (("ann", "bob"), {1: 0}, "1 cases"),
        (("ann", "bob"), {1: 0, 99: 1}, "no study 99"),
    ],
)
def test_studies_that_cannot_be_read_are_refused(
    service: Service, readers: tuple[str, ...], references: dict[int, int | None], found: str
) -> None:
    with service.store.write() as session, pytest.raises(ResightError, match=found):
        reader_studies.create(
            session, "Autumn", "mass", references, readers, washout_days=28, seed=0, by="user root"
        )  # fmt: skip


@pytest.mark.parametrize("text", ["x", "1,2", "1;0", "1\n1", "-3", "1,0,1", "²"])
def test_cases_are_numbers_with_or_without_a_reference(text: str) -> None:
    with pytest.raises(DataError):
        parse_cases(text)
    assert parse_cases("1,1\n\n 2 , 0 \n3") == {1: 1, 2: 0, 3: None}


def test_pages_for_each_role(tmp_path: Path) -> None:
    models = [model_settings(write_bundle(tmp_path / "bundle"))]
    settings = ServiceSettings.model_validate({"folder": tmp_path / "service", "quiet_s": 0, "models": models})
    with Parts(Service(settings)) as parts:
        take_in(parts, *(deep(n, study=f"1.2.{n}") for n in range(2)))
        with parts.service.store.write() as session:
            for name, role in (("ann", "reader"), ("bob", "reader"), ("root", "admin")):
                add_user(session, name, role, PASSWORD, by="test")
        app = build_app(parts)
        root, ann = TestClient(app, follow_redirects=False), TestClient(app, follow_redirects=False)
        tokens = {}
        for client, name in ((root, "root"), (ann, "ann")):
            token = client.get("/login").text.split('name="form_token" value="')[1].split('"')[0]
            client.post("/login", data={"name": name, "password": PASSWORD, "form_token": token})
            page = client.get("/reader-studies").text
            tokens[name] = {"csrf_token": page.split('name="csrf_token" value="')[1].split('"')[0]}
        form = {"name": "Autumn", "label": "mass", "case": ["1,1", ""], "cases": "2,0", "readers": ["ann", "bob"]}
        assert "Study 2 as a case" in root.get("/reader-studies").text
        assert "as a case" not in ann.get("/reader-studies").text
        assert root.post("/reader-studies", data=form).status_code == 403, "no CSRF token"
        assert ann.post("/reader-studies", data=form | tokens["ann"]).status_code == 403, "not an administrator"
        wrong = root.post("/reader-studies", data=form | tokens["root"] | {"case": ["1,5"]})
        assert wrong.status_code == 422
        assert "number of a study" in wrong.text
        assert root.post("/reader-studies", data=form | tokens["root"]).status_code == 303
        assert ann.get("/studies/1").status_code == 403, "the model's answer is hidden"
        listed = {row["study_uid"] for row in ann.get("/api/studies").json()}
        everything = {row["study_uid"] for row in root.get("/api/studies").json()}
        hidden = everything - listed
        assert hidden
        assert all(ann.get(f"/api/studies/{uid}").status_code == 403 for uid in hidden)
        assert ann.get("/reader-studies/1/readings.csv").status_code == 403
        assert ann.post("/reader-studies/1/close", data=tokens["ann"]).status_code == 403
        page = ann.get("/reader-studies/1/read").text
        assert "read without the model" in page
        assert "screening" not in page
        reading = page.split('name="reading" value="')[1].split('"')[0]
        answer = {"reading": reading, "confidence": "80"}
        assert ann.post("/reader-studies/1/read", data=answer).status_code == 403
        assert (
            ann.post("/reader-studies/1/read", data=answer | tokens["ann"] | {"confidence": "101"}).status_code == 422
        )
        assert ann.post("/reader-studies/1/read", data=answer | tokens["ann"] | {"reading": "9"}).status_code == 409
        assert ann.post("/reader-studies/1/read", data=answer | tokens["ann"]).status_code == 303
        assert ann.post("/reader-studies/1/read", data=answer | tokens["ann"]).status_code == 409, "answered"
        table = pd.read_csv(io.StringIO(root.get("/reader-studies/1/readings.csv").text))
        assert table["rating"].notna().sum() == 1
        assert len(table) == 8
        assert root.post("/reader-studies/1/close", data=tokens["root"]).status_code == 303
        assert ann.get("/reader-studies/1/read").status_code == 409
        assert ann.get("/studies/1").status_code == 200
        with parts.service.store.read() as session:
            assert verify_trail(session) == []
            assert session.scalars(select(ReaderReading).where(ReaderReading.answered_at.is_not(None))).one()
