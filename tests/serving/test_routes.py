"""Every route of the application against every role; a route that is in no table here is refused to strangers."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from resight.serving.accounts import add_token, revoke_token

EVERYBODY = {
    ("GET", "/login"),
    ("POST", "/login"),
    ("GET", "/login/oidc"),
    ("GET", "/login/oidc/callback"),
    ("GET", "/static/{name}"),
    ("GET", "/api/health"),
}
ALL = {"reader", "admin", "service"}
ALLOWED = {
    ("POST", "/logout"): ALL,
    ("POST", "/api/predict"): {"service", "admin"},
    ("GET", "/api/studies"): {"reader", "admin"},
    ("GET", "/api/studies/{study_uid}"): ALL,
    ("GET", "/api/studies/{study_uid}/objects/{sop_uid}"): ALL,
    ("POST", "/api/studies/{study_uid}/retry"): {"admin"},
    ("GET", "/api/models"): ALL,
    ("POST", "/api/models/{name}/reload"): {"admin"},
    ("GET", "/api/audit"): {"admin"},
    ("GET", "/api/metrics"): {"service", "admin"},
    ("POST", "/dicom-web/studies"): {"service", "admin"},
    ("POST", "/dicom-web/studies/{study_uid}"): {"service", "admin"},
}


def routes(client: TestClient) -> set[tuple[str, str]]:
    """Method and path of everything the application answers to, the description of its interface aside."""
    found = set()
    for route in _leaves(client.app.routes):  # type: ignore[attr-defined]
        for method in getattr(route, "methods", None) or ():
            if method != "HEAD" and route.path != "/api/openapi.json":
                found.add((method, route.path))
    return found


def _leaves(routes: list) -> list:
    """Routes of included routers among the application's own."""
    found = []
    for one in routes:
        router = getattr(one, "original_router", None)
        found += [one] if router is None else _leaves(router.routes)
    return found


def ask(client: TestClient, method: str, path: str, **arguments: object) -> int:
    for name in ("study_uid", "sop_uid"):
        path = path.replace(f"{{{name}}}", "9.9")
    filled = "/".join("1" if part.startswith("{") else part for part in path.split("/"))
    return client.request(method, filled, **arguments).status_code  # type: ignore[arg-type]


def test_the_tables_name_routes_that_there_are(client: TestClient) -> None:
    found = routes(client)
    assert found >= EVERYBODY | set(ALLOWED)
    assert {path for _, path in found if path.startswith(("/api/", "/dicom-web/"))} == {
        path for _, path in EVERYBODY | set(ALLOWED) if path.startswith(("/api/", "/dicom-web/"))
    }


def test_a_stranger_gets_nowhere(client: TestClient, accounts: None) -> None:
    for method, path in sorted(routes(client) - EVERYBODY):
        assert ask(client, method, path) == 401, (method, path)
        assert ask(client, method, path, headers={"Authorization": "Bearer resight_guessed"}) == 401, (method, path)
        client.cookies.set("resight_session", "guessed")
        assert ask(client, method, path) == 401, (method, path)
        client.cookies.clear()


@pytest.mark.parametrize("role", sorted(ALL))
def test_a_token_opens_what_its_role_may(client: TestClient, tokens: dict[str, str], role: str) -> None:
    headers = {"Authorization": f"Bearer {tokens[role]}"}
    for (method, path), allowed in sorted(ALLOWED.items()):
        status = ask(client, method, path, headers=headers)
        assert (status == 403) == (role not in allowed), (method, path, status)
        assert status != 401, (method, path)


@pytest.mark.parametrize("role", sorted(ALL))
def test_a_browser_changes_nothing_without_the_token_of_its_page(
    client: TestClient, sign_in_as, csrf, role: str
) -> None:
    assert sign_in_as(role).status_code == 303
    for method, path in sorted(routes(client) - EVERYBODY):
        if method == "GET":
            continue
        assert ask(client, method, path) == 403, (method, path)
        assert ask(client, method, path, headers={"X-CSRF-Token": "x" * 43}) == 403, (method, path)
        assert ask(client, method, path, data={"csrf_token": ""}) == 403, (method, path)
    allowed = [key for key, roles in sorted(ALLOWED.items()) if role in roles and key[0] == "POST"]
    for method, path in sorted(allowed, key=lambda key: key[1] == "/logout"):
        assert ask(client, method, path, headers={"X-CSRF-Token": csrf()}) != 403, (method, path)


def test_a_revoked_and_an_expired_token_open_nothing(client: TestClient, service) -> None:
    with service.store.write() as session:
        revoked = add_token(session, "one", "admin", by="test")
        expired = add_token(session, "two", "admin", by="test", days=-1)
        revoke_token(session, "one", by="test")
    for secret in (revoked, expired):
        assert client.get("/api/models", headers={"Authorization": f"Bearer {secret}"}).status_code == 401
