"""A service in a folder of its own, with an account for every role and a client for each."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient
from httpx import Response
from sqlalchemy import select

from resight.serving import ServiceSettings
from resight.serving import accounts as accounts_module
from resight.serving.accounts import add_token, add_user
from resight.serving.app import build_app
from resight.serving.parts import Parts
from resight.serving.people import SignedIn
from resight.serving.service import Service
from resight.serving.worker import Worker

sys.path.insert(0, str(Path(__file__).parent))  # the files beside this one that tests share

from serving_certificates import make_certificates
from serving_site import Site, make_settings

PASSWORD = "correct horse battery staple"

MakeService = Callable[..., Service]


@pytest.fixture(autouse=True)
def _cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 takes 64 MiB and a tenth of a second a password; here its strength is not what is tested."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts_module, "_hasher", lambda: cheap)


@pytest.fixture
def make_service(tmp_path: Path) -> Iterator[MakeService]:
    made: list[Service] = []

    def make(**changes: object) -> Service:
        settings = ServiceSettings.model_validate({"folder": tmp_path / "service", **changes})
        made.append(Service(settings))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def service(make_service: MakeService) -> Service:
    return make_service()


@pytest.fixture
def tokens(service: Service) -> dict[str, str]:
    """A token for every role."""
    with service.store.write() as session:
        return {role: add_token(session, f"{role} program", role, by="test") for role in ("reader", "admin", "service")}


@pytest.fixture
def parts(service: Service) -> Iterator[Parts]:
    with Parts(service) as parts:
        yield parts


@pytest.fixture
def client(parts: Parts) -> Iterator[TestClient]:
    with TestClient(build_app(parts), base_url="http://testserver", follow_redirects=False) as client:
        yield client


@pytest.fixture
def accounts(service: Service) -> None:
    """An account for every role, named after it."""
    with service.store.write() as session:
        for role in ("reader", "admin", "service"):
            add_user(session, role, role, PASSWORD, by="test")


@pytest.fixture
def sign_in_as(client: TestClient, accounts: None) -> Callable[..., Response]:
    """Fill in the form as a browser does."""

    def fill_in(name: str, password: str = PASSWORD) -> Response:
        token = client.get("/login").text.split('name="form_token" value="')[1].split('"')[0]
        return client.post("/login", data={"name": name, "password": password, "form_token": token})

    return fill_in


@pytest.fixture
def csrf(service: Service) -> Callable[[], str]:
    """The CSRF token of the newest browser session."""

    def newest() -> str:
        with service.store.read() as session:
            return session.scalars(select(SignedIn).order_by(SignedIn.id.desc())).first().csrf  # type: ignore[union-attr]

    return newest


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    bundle = shutil.copytree(Path(__file__).parents[1] / "golden" / "bundle_v1", folder / "bundle")
    service = Service(make_settings(folder, bundle))
    with Parts(service) as parts:
        with service.store.write() as session:
            tokens = {role: add_token(session, role, role, by="test") for role in ("reader", "admin", "service")}
        with TestClient(build_app(parts), base_url="http://testserver", follow_redirects=False) as client:
            yield Site(parts, client, tokens, Worker(service, parts.intake, parts.models, parts.sandbox))


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_certificates(tmp_path_factory.mktemp("tls"))
