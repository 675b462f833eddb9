"""Worklist and study page: order, filters, decisions, who may do what, and what the audit trail knows afterwards."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from review_service import deep, model_settings, take_in, write_bundle
from serving_images import radiograph
from sqlalchemy import select

from resight.serving import ServiceSettings
from resight.serving.accounts import add_token, add_user
from resight.serving.app import build_app
from resight.serving.audit_trail import verify_trail
from resight.serving.parts import Parts
from resight.serving.people import Decision
from resight.serving.schema import AuditEntry, Prediction, Study
from resight.serving.service import Service

PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("model") / "bundle")


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Path:
    """The folder of a service with accounts, three answered studies and one that no model answers for."""
    folder = tmp_path_factory.mktemp("answered") / "service"
    with Parts(Service(settings_of(folder, bundle))) as parts:
        for number in range(3):
            take_in(parts, deep(number, study=f"1.2.3.{number}", PatientID=f"P{number % 2}"))
        take_in(parts, radiograph(9, study="1.2.3.9", Modality="US", PatientID="P9"))
        with parts.service.store.write() as session:
            for name, role in (("ann", "reader"), ("bob", "reader"), ("root", "admin"), ("robot", "service")):
                add_user(session, name, role, PASSWORD, by="test")
    return folder


@pytest.fixture
def service(tmp_path: Path, answered: Path, bundle: Path) -> Service:
    shutil.copytree(answered, tmp_path / "service")
    return Service(settings_of(tmp_path / "service", bundle))


@pytest.fixture
def parts(service: Service) -> Iterator[Parts]:
    with Parts(service) as parts:
        yield parts


def settings_of(folder: Path, bundle: Path) -> ServiceSettings:
    given = {"folder": folder, "quiet_s": 0, "models": [model_settings(bundle)]}
    return ServiceSettings.model_validate(given)


SignIn = Callable[[str], TestClient]


@pytest.fixture
def sign_in(parts: Parts) -> Iterator[SignIn]:
    opened: list[TestClient] = []

    def enter(name: str) -> TestClient:
        client = TestClient(build_app(parts), base_url="http://testserver", follow_redirects=False)
        opened.append(client)
        token = client.get("/login").text.split('name="form_token" value="')[1].split('"')[0]
        answer = client.post("/login", data={"name": name, "password": PASSWORD, "form_token": token})
        assert answer.status_code == 303
        return client

    yield enter
    for client in opened:
        client.close()


def csrf(page: str) -> str:
    return page.split('name="csrf_token" value="')[1].split('"')[0]


def decide(client: TestClient, key: int, **fields: str) -> int:
    page = client.get(f"/studies/{key}").text
    prediction = re.search(r'name="prediction" value="(\d+)"', page)
    given = {"csrf_token": csrf(page), "prediction": prediction[1] if prediction else ""} | fields
    return client.post(f"/studies/{key}/decide", data=given).status_code


def actions(service: Service) -> list[tuple[str, str, str]]:
    with service.store.read() as session:
        return [(one.action, one.actor, one.subject) for one in session.scalars(select(AuditEntry))]


def order(page: str) -> list[int]:
    return [int(key) for key in re.findall(r'data-key="(\d+)"', page)]


def test_the_worklist_begins_with_the_highest_risk_and_says_why_a_study_has_none(
    sign_in: SignIn, service: Service
) -> None:
    page = unescape(sign_in("ann").get("/worklist").text)
    with service.store.read() as session:
        by_risk = select(Study.id).order_by(Study.risk.is_(None), Study.risk.desc())
        assert order(page) == list(session.scalars(by_risk))
        refused = session.scalars(select(Study).where(Study.risk.is_(None))).one()
    assert refused.state == "refused"
    assert "no model answers for these images: US CHEST PA" in page
    assert "Secretname, Jane" in page
    assert ("worklist viewed", "user ann", "") in actions(service)


def test_filters_and_other_orders(sign_in: SignIn) -> None:
    client = sign_in("ann")
    assert order(client.get("/worklist?modality=US").text) == [4]
    assert order(client.get("/worklist?state=refused").text) == [4]
    assert sorted(order(client.get("/worklist?label=mass").text)) == [1, 2, 3]
    assert order(client.get("/worklist?label=nodule").text) == []
    assert order(client.get("/worklist?sort=oldest").text) == [1, 2, 3, 4]
    assert order(client.get("/worklist?sort=newest").text) == [4, 3, 2, 1]
    assert order(client.get("/worklist?page=2").text) == []
    assert decide(client, 2, label="mass", action="accept") == 303
    assert order(client.get("/worklist?read=read").text) == [2]
    assert sorted(order(client.get("/worklist?read=unread").text)) == [1, 3, 4]


def test_a_filter_is_text_and_nothing_else(sign_in: SignIn) -> None:
    client = sign_in("ann")
    page = client.get("/worklist", params={"label": "' OR 1=1 --<script>", "state": '"><script>'})
    assert page.status_code == 200
    assert order(page.text) == []
    assert "<script>" not in page.text


def test_the_study_page_tells_probability_decision_and_model_apart(sign_in: SignIn, service: Service) -> None:
    page = unescape(sign_in("ann").get("/studies/1").text)
    with service.store.read() as session:
        prediction = session.scalars(select(Prediction).where(Prediction.study_pk == 1)).one()
        for finding in prediction.findings:
            assert f"{finding.probability:.3f}" in page
        assert prediction.model.model_hash in page
    for said in ("screening", "Calibrated probabilities.", "set: either", "Not for children.", "Tests of pages.",
                 "sensitivity 0.91", "for research use only"):  # fmt: skip
        assert said.lower() in page.lower(), said
    assert page.index(">mass<") < page.index(">nodule<"), "what is present comes first"
    assert ("study viewed", "user ann", "study 1") in actions(service)


@pytest.mark.parametrize(
    ("models", "said"),
    [([], "this one is not any more"), ([{"explainer": None}], "name no explainer")],
    ids=["retired", "without explainer"],
)
def test_where_there_is_no_overlay_the_page_says_why(
    tmp_path: Path, answered: Path, bundle: Path, models: list, said: str
) -> None:
    shutil.copytree(answered, tmp_path / "service")
    entries = [{**model_settings(bundle), **changes} for changes in models]
    settings = ServiceSettings.model_validate({"folder": tmp_path / "service", "models": entries})
    with Parts(Service(settings)) as parts, TestClient(build_app(parts)) as client:
        with parts.service.store.write() as session:
            token = add_token(session, "looks", "reader", by="test")
        page = client.get("/studies/1", headers={"Authorization": f"Bearer {token}"}).text
    assert said in page
    assert "data-evidence" not in page


def test_earlier_studies_of_the_patient_and_similar_cases_of_others(sign_in: SignIn) -> None:
    page = sign_in("ann").get("/studies/1").text
    priors = page.split("other studies of the patient")[1]
    assert 'href="/studies/3"' in priors
    assert 'href="/studies/2"' not in priors
    similar = page.split("Similar cases")[1].split("</details>")[0]
    assert 'href="/studies/2"' in similar
    assert 'href="/studies/3"' not in similar, "of the same patient"


def test_an_override_needs_a_reason_and_is_kept_with_an_entry(sign_in: SignIn, service: Service) -> None:
    client = sign_in("ann")
    assert decide(client, 1, label="mass", action="override", reason="  ") == 422
    assert decide(client, 1, label="mass", action="override", reason="A nipple shadow.") == 303
    with service.store.read() as session:
        kept = session.scalars(select(Decision)).one()
        assert (kept.action, kept.decision, kept.reason, kept.reading) == ("override", 0, "A nipple shadow.", 1)
        assert verify_trail(session) == []
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "decision made")).one()
        assert "nipple" not in entry.details
        assert "decisions" in entry.rows
    assert "A nipple shadow." in client.get("/studies/1").text


def test_accepting_keeps_what_the_model_decided_and_deferring_decides_nothing(
    sign_in: SignIn, service: Service
) -> None:
    client = sign_in("ann")
    for label, action in (("mass", "accept"), ("nodule", "accept"), ("effusion", "defer"), ("", "accept")):
        assert decide(client, 1, label=label, action=action) == 303
    with service.store.read() as session:
        found = [(one.label, one.action, one.decision) for one in session.scalars(select(Decision))]
    assert found == [
        ("mass", "accept", 1),
        ("nodule", "accept", 0),
        ("effusion", "defer", None),
        (None, "accept", None),
    ]


def test_the_second_reader_decides_without_knowing_what_the_first_one_said(sign_in: SignIn, service: Service) -> None:
    ann, bob = sign_in("ann"), sign_in("bob")
    decide(ann, 1, label="mass", action="override", reason="Seen on the lateral view.")
    before = bob.get("/studies/1").text
    assert "Seen on the lateral view." not in before
    assert "you are reading 2" in before
    assert decide(bob, 1, label="mass", action="accept") == 303
    assert "Seen on the lateral view." in bob.get("/studies/1").text
    with service.store.read() as session:
        assert [one.reading for one in session.scalars(select(Decision).order_by(Decision.id))] == [1, 2]


def test_decisions_on_something_else_than_what_was_shown_are_refused(sign_in: SignIn, service: Service) -> None:
    client = sign_in("ann")
    assert decide(client, 1, label="mass", action="accept", prediction="999") == 409
    assert decide(client, 1, label="mass", action="accept", prediction="2") == 409
    assert decide(client, 1, label="fracture", action="accept") == 404
    assert decide(client, 1, label="mass", action="forget") == 422
    assert decide(client, 1, action="override", reason="The whole study.") == 422
    page = client.get("/studies/1").text
    for given in ({}, {"csrf_token": "x" * 43}):
        assert client.post("/studies/1/decide", data={"action": "accept", **given}).status_code == 403
    assert client.post("/studies/77/decide", data={"action": "accept", "csrf_token": csrf(page)}).status_code == 404
    with service.store.read() as session:
        assert session.scalars(select(Decision)).all() == []


def test_the_next_study_is_the_unread_one_with_the_highest_risk(sign_in: SignIn, service: Service) -> None:
    client = sign_in("ann")
    with service.store.read() as session:
        risky = list(session.scalars(select(Study.id).where(Study.state == "done").order_by(Study.risk.desc())))
    assert client.get("/worklist/next").headers["location"] == f"/studies/{risky[0]}"
    decide(client, risky[0], action="accept")
    assert client.get(f"/worklist/next?after={risky[0]}").headers["location"] == f"/studies/{risky[1]}"


PAGES = ("/worklist", "/worklist/next", "/studies/1", "/studies/1/images/0", "/studies/1/images/0/values",
         "/studies/1/images/0/picture", "/reader-studies", "/dashboard")  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_for_readers(path: str, sign_in: SignIn, parts: Parts) -> None:
    with TestClient(build_app(parts), follow_redirects=False) as nobody:
        assert nobody.get(path).status_code == 401
        answer = nobody.get(path, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login?target={path}")
    assert sign_in("robot").get(path).status_code == 403
    for name in ("ann", "root"):
        assert sign_in(name).get(path).status_code in (200, 303)


@pytest.mark.parametrize("path", ["/studies/77", "/studies/77/images/0", "/studies/1/images/5", "/studies/1/images/-1",
                                  "/reader-studies/7/read", "/studies/99999999999999999999"])  # fmt: skip
def test_what_is_not_there_is_said_to_be_missing(path: str, sign_in: SignIn) -> None:
    assert sign_in("ann").get(path).status_code in (404, 422)


def test_people_get_a_page_for_an_error_and_programs_get_json(sign_in: SignIn) -> None:
    client = sign_in("ann")
    page = client.get("/studies/99", headers={"Accept": "text/html,*/*"})
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "there is no such study" in page.text
    assert 'href="/worklist"' in page.text
    assert client.get("/studies/99").json() == {"detail": "there is no such study"}


@pytest.mark.parametrize(
    ("path", "named"),
    [("/worklist?page=x", "page"), ("/worklist?sort=%3Cscript%3E", "sort"), ("/studies/x", "key")],
)
def test_an_address_that_asks_for_nonsense_gives_a_page_that_says_which_part(
    path: str, named: str, sign_in: SignIn
) -> None:
    client = sign_in("ann")
    page = client.get(path, headers={"Accept": "text/html,*/*"})
    assert page.status_code == 422
    assert page.headers["content-type"].startswith("text/html")
    assert f"This address asks for something that cannot be: {named}: input should be" in unescape(page.text)
    assert 'href="/worklist"' in page.text
    assert "<script" not in page.text
    (problem,) = client.get(path).json()["detail"]
    assert named in problem["loc"]
    assert "input" not in problem, "what was sent may be a password"


def test_a_program_may_look_and_not_decide(parts: Parts) -> None:
    with parts.service.store.write() as session:
        secret = add_token(session, "viewer", "reader", by="test")
    with TestClient(build_app(parts), headers={"Authorization": f"Bearer {secret}"}) as program:
        assert program.get("/studies/1").status_code == 200
        assert program.post("/studies/1/decide", data={"action": "accept"}).status_code == 403


def test_nothing_on_a_page_needs_an_exception_from_the_policy(sign_in: SignIn) -> None:
    client = sign_in("root")
    for path in ("/worklist", "/studies/1", "/reader-studies", "/dashboard"):
        page = client.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", page)
        assert not re.search(r"\sstyle=|\son[a-z]+=|<style|https?://", page), path


def test_an_earlier_study_that_no_model_answered_is_not_said_to_have_no_findings(sign_in: SignIn, parts: Parts) -> None:
    take_in(parts, deep(5, study="1.2.3.7", PatientID="P9"))
    ann = sign_in("ann")
    page = ann.get("/studies/5").text
    assert "refused · no result" in page
    assert "nothing at or above" not in page
    assert re.search("done · [a-z, ]*mass", ann.get("/studies/4").text)
