"""Every route that the application has against every role; a new route without a rule here fails the first test."""

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
READERS = {"reader", "admin"}
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
    ("GET", "/"): ALL,
    ("GET", "/worklist"): READERS,
    ("GET", "/worklist/next"): READERS,
    ("GET", "/dashboard"): READERS,
    ("GET", "/studies/{key}"): READERS,
    ("POST", "/studies/{key}/decide"): READERS,
    ("GET", "/studies/{key}/images/{number}"): READERS,
    ("GET", "/studies/{key}/images/{number}/values"): READERS,
    ("GET", "/studies/{key}/images/{number}/picture"): READERS,
    ("GET", "/studies/{key}/images/{number}/evidence"): READERS,
    ("GET", "/studies/{key}/images/{number}/evidence/profile"): READERS,
    ("GET", "/reader-studies"): READERS,
    ("POST", "/reader-studies"): {"admin"},
    ("POST", "/reader-studies/{key}/close"): {"admin"},
    ("GET", "/reader-studies/{key}/readings.csv"): {"admin"},
    ("GET", "/reader-studies/{key}/read"): READERS,
    ("POST", "/reader-studies/{key}/read"): READERS,
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


def test_every_route_has_a_rule_and_every_rule_a_route(client: TestClient) -> None:
    assert routes(client) == EVERYBODY | set(ALLOWED)


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
def test_a_person_sees_what_their_role_may(client: TestClient, sign_in_as, role: str) -> None:
    assert sign_in_as(role).status_code == 303
    for (method, path), allowed in sorted(ALLOWED.items()):
        if method == "GET":
            status = ask(client, method, path)
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
