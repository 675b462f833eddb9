"""The sign-in form, the session cookie, and what other sites cannot do with it."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from resight.serving.login import local_path


def form_token(client: TestClient) -> str:
    return client.get("/login").text.split('name="form_token" value="')[1].split('"')[0]


def test_signing_in_sets_a_cookie_that_scripts_and_other_sites_cannot_use(client: TestClient, sign_in_as) -> None:
    answer = sign_in_as("reader")
    assert answer.status_code == 303
    cookie = next(c for c in answer.headers.get_list("set-cookie") if c.startswith("resight_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie


def test_a_wrong_password_says_nothing_about_the_name(client: TestClient, sign_in_as) -> None:
    wrong, nobody = sign_in_as("reader", "wrong horse battery"), sign_in_as("nobody")
    assert wrong.status_code == nobody.status_code == 401
    assert "Name or password is wrong." in wrong.text
    assert "Name or password is wrong." in nobody.text


def test_the_form_of_another_site_signs_nobody_in(client: TestClient, accounts: None) -> None:
    given = {"name": "reader", "password": "correct horse battery staple", "form_token": "guessed"}
    assert client.post("/login", data=given).status_code == 403
    assert "resight_session" not in client.cookies


def test_signing_out_needs_the_csrf_token_and_ends_the_session(client: TestClient, sign_in_as, csrf) -> None:
    sign_in_as("reader")
    kept = client.cookies["resight_session"]
    assert client.post("/logout").status_code == 403
    assert client.post("/logout", data={"csrf_token": "x" * 43}).status_code == 403
    assert client.post("/logout", data={"csrf_token": csrf()}).status_code == 303
    client.cookies.set("resight_session", kept)
    assert client.post("/logout", headers={"X-CSRF-Token": "x"}).status_code == 401


@pytest.mark.parametrize("target", ["https://evil.example", "//evil.example", "/\\evil", "javascript:x", "", "/a\nb"])
def test_the_form_leads_nowhere_else(target: str) -> None:
    assert local_path(target) == "/"


def test_a_target_on_this_server_is_kept_and_escaped(client: TestClient) -> None:
    page = client.get("/login", params={"target": '/x"><script>'}).text
    assert "<script>" not in page
    assert local_path("/studies/3?label=Mass") == "/studies/3?label=Mass"


def test_browsers_are_told_to_be_careful(client: TestClient) -> None:
    headers = client.get("/login").headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("name", ["../settings.py", "..%2Fsettings.py", "settings.py", "login.html", "%2e%2e/app.py"])
def test_no_path_leads_out_of_the_static_files(client: TestClient, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404
    assert client.get("/static/login.css").status_code == 200
