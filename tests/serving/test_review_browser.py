"""The pages in a real browser: sign in, sort, open, window, overlay, override, and a reader study from end to end."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from review_service import ct_slice, deep, model_settings, take_in, write_bundle
from sqlalchemy import select

from resight.serving import ServiceSettings, reader_studies
from resight.serving.accounts import add_user
from resight.serving.app import build_app
from resight.serving.audit_trail import verify_trail
from resight.serving.parts import Parts
from resight.serving.people import Decision, ReaderReading
from resight.serving.row import now
from resight.serving.schema import AuditEntry
from resight.serving.service import Service

pytestmark = pytest.mark.slow

PASSWORD = "correct horse battery staple"
_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_GREY = """(place) => {
  const canvas = document.getElementById("canvas"), box = canvas.getBoundingClientRect();
  const at = (share, size) => Math.round(share * size);
  return [...canvas.getContext("2d").getImageData(at(place[0], canvas.width), at(place[1], canvas.height), 1, 1).data];
}"""
_SUM = """() => {
  const canvas = document.getElementById("canvas");
  const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  let red = 0, blue = 0;
  for (let i = 0; i < data.length; i += 4) { red += data[i]; blue += data[i + 2]; }
  return [red, blue];
}"""


_PROFILE = """() => {
  const strip = document.getElementById("profile");
  return [...strip.getContext("2d").getImageData(0, 0, strip.width, 1).data].filter((_, i) => i % 4 === 3);
}"""
"""How strong the evidence is on each slice, as the strip under the slider shows it."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    if _BROWSER is None:
        pytest.skip("no Chromium is installed")
    folder = tmp_path_factory.mktemp("browser")
    settings = {
        "folder": folder / "service",
        "quiet_s": 0,
        "models": [
            model_settings(write_bundle(folder / "bundle")),
            {**model_settings(write_bundle(folder / "volumes", dims=3)), "name": "chest-ct", "modalities": ["CT"]},
        ],
    }
    with Parts(Service(ServiceSettings.model_validate(settings))) as parts:
        take_in(parts, *(deep(n, study=f"1.2.3.{n}", PatientID=f"P{n}", PatientName=f"Doe^N{n}") for n in range(3)))
        take_in(parts, *(ct_slice(place, study="1.2.9") for place in range(9)))
        with parts.service.store.write() as session:
            for name, role in (("ann", "reader"), ("bob", "reader"), ("root", "admin")):
                add_user(session, name, role, PASSWORD, by="test")
        yield parts


@pytest.fixture(scope="module")
def address(parts: Parts) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(build_app(parts), port=0, log_level="warning", ws="none", access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(timeout=10)


@pytest.fixture(scope="module")
def browser(parts: Parts) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_BROWSER, args=_FLAGS)
        yield browser
        browser.close()


@contextmanager
def signed_in(browser: Any, address: str, name: str) -> Iterator[Any]:
    """A page of a person; whatever goes wrong in a script or is stopped by the policy fails the test."""
    context = browser.new_context(viewport={"width": 1360, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(30_000)
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto(address + "/")
    page.fill("#name", name)
    page.fill("#password", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url("**/worklist")
    yield page
    assert problems == []
    context.close()


def picture(page: Any, name: str) -> None:
    """For people who want to see the pages: kept where RESIGHT_SCREENSHOTS says."""
    if folder := os.environ.get("RESIGHT_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def test_a_study_is_found_looked_at_and_decided(browser: Any, address: str, parts: Parts) -> None:
    with signed_in(browser, address, "ann") as page:
        page.select_option("select[name=sort]", "oldest")
        page.wait_for_url("**sort=oldest**")
        keys = page.eval_on_selector_all("tr[data-key]", "rows => rows.map(row => row.dataset.key)")
        assert keys == sorted(keys, key=int)
        picture(page, "worklist")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_selector('#viewer[data-ready="0"]')
        page.wait_for_timeout(100)
        dark, bright = page.evaluate(_GREY, [0.35, 0.5]), page.evaluate(_GREY, [0.65, 0.5])
        assert dark[0] < bright[0], "the image is brighter on its right"
        assert "C 2000 W 2000" in page.inner_text("#window")
        box = page.locator("#canvas").bounding_box()
        middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(*middle)
        page.mouse.down()
        page.mouse.move(middle[0], middle[1] - 150, steps=4)
        page.mouse.up()
        page.wait_for_timeout(100)
        assert page.inner_text("#window").startswith("C 1000 W 2000")
        assert page.evaluate(_GREY, [0.35, 0.5])[0] > dark[0] + 50, "a lower window is brighter"
        page.keyboard.press("r")
        page.keyboard.press("i")
        page.wait_for_timeout(100)
        assert page.evaluate(_GREY, [0.35, 0.5])[0] == pytest.approx(255 - dark[0], abs=2)
        page.keyboard.press("i")
        page.mouse.wheel(0, -300)
        page.wait_for_timeout(100)
        before = page.evaluate(_SUM)
        overlay = page.locator('[data-evidence][data-label="mass"]')
        overlay.check()
        page.wait_for_selector('[data-label="mass"][data-drawn]')
        page.wait_for_timeout(150)
        picture(page, "study")
        under = page.evaluate(_SUM)
        assert under != before, "evidence lies over the image"
        slider = page.locator(".finding", has_text="mass").locator(".opacity")
        slider.fill("0")
        page.wait_for_timeout(100)
        assert page.evaluate(_SUM) == before, "and nothing of it at an opacity of 0"
        page.keyboard.press("Escape")
        page.locator("#canvas").focus()
        page.keyboard.press("?")
        page.wait_for_selector("#help[open]")
        picture(page, "help")
        page.keyboard.press("Escape")
        finding = page.locator(".finding", has_text="mass")
        finding.locator("summary").click()
        finding.locator("textarea").fill("A nipple shadow.")
        picture(page, "override")
        finding.get_by_role("button", name="Override").last.click()
        page.wait_for_selector(".said")
        assert "A nipple shadow." in page.inner_text(".said")
        picture(page, "decided")
    with parts.service.store.read() as session:
        kept = session.scalars(select(Decision)).one()
        assert (kept.action, kept.decision, kept.reason, kept.label) == ("override", 0, "A nipple shadow.", "mass")
        assert kept.seconds is not None
        done = list(session.scalars(select(AuditEntry.action).where(AuditEntry.actor == "user ann")))
        for action in ("signed in", "worklist viewed", "study viewed", "image viewed", "decision made"):
            assert action in done, action
        assert verify_trail(session) == []


def test_slices_of_a_volume_are_turned_by_wheel_and_keys(browser: Any, address: str) -> None:
    with signed_in(browser, address, "bob") as page:
        page.goto(address + "/studies/4")
        page.wait_for_selector('#viewer[data-ready="0"]')
        page.wait_for_timeout(100)
        assert "Slice 5 of 9" in page.inner_text("#place")
        assert page.inner_text("#window") == "C 40 W 400 HU"
        page.locator("#canvas").hover()
        page.mouse.wheel(0, 100)
        page.wait_for_function("() => document.getElementById('place').textContent.includes('Slice 6')")
        page.locator("#canvas").focus()
        page.keyboard.press("PageUp")
        page.wait_for_function("() => document.getElementById('place').textContent.includes('Slice 5')")
        plain = page.evaluate(_SUM)
        page.locator('[data-evidence][data-label="mass"]').check()
        page.wait_for_selector('[data-label="mass"][data-drawn]')
        page.wait_for_function("() => document.getElementById('place').textContent.includes('mass strongest')")
        shares = page.evaluate(_PROFILE)
        strongest = shares.index(max(shares)) + 1
        assert f"Slice {strongest} of 9" in page.inner_text("#place"), "the first overlay turns to its strongest slice"
        page.wait_for_timeout(150)
        picture(page, "volume")
        assert page.evaluate(_SUM) != plain
        page.locator("#canvas").focus()
        page.keyboard.press("PageUp" if strongest > 1 else "PageDown")
        page.wait_for_function(f"() => !document.getElementById('place').textContent.includes('Slice {strongest} of')")
        page.keyboard.press("m")
        page.wait_for_function(f"() => document.getElementById('place').textContent.includes('Slice {strongest} of')")


def test_a_reader_study_is_read_unaided_and_after_the_wash_out_aided(
    browser: Any, address: str, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    with signed_in(browser, address, "root") as page:
        page.goto(address + "/reader-studies")
        page.fill("input[name=name]", "Mass, autumn")
        page.select_option("select[name=label]", "mass")
        page.check("input[name=readers][value=ann]")
        page.check("input[name=readers][value=bob]")
        for case in ("1,1", "2,0"):  # two from the list of the newest studies, the third by its number
            page.locator("select[name=case]").locator(f"xpath=self::*[option[@value='{case}']]").select_option(case)
        page.fill("textarea[name=cases]", "3,0")
        picture(page, "reader-study-new")
        page.get_by_role("button", name="Lay out").click()
        page.wait_for_selector("text=0 of 3")
        page.goto(address + "/dashboard")
        picture(page, "dashboard")
    with signed_in(browser, address, "bob") as page:
        assert page.locator("tr[data-key]").count() == 1, "cases to be read are hidden from the worklist"
        page.goto(address + "/reader-studies")
        page.get_by_text("Read the next case (unaided)").click()
        for number in range(3):
            page.wait_for_selector(f"text=case {number + 1} of 3")
            page.wait_for_selector('#viewer[data-ready="0"]')
            assert page.locator("[data-evidence]").count() == 0
            assert "screening" not in page.content()
            page.locator("#confidence").fill(str(20 + 30 * number))
            if number == 1:
                picture(page, "unaided")
            page.get_by_role("button", name="Keep and go on").click()
        page.wait_for_selector("text=The aided readings begin on")
        picture(page, "wash-out")
        monkeypatch.setattr(reader_studies, "now", lambda: now() + timedelta(days=29))
        page.reload()
        page.get_by_text("Read the next case (aided)").click()
        page.wait_for_selector('#viewer[data-ready="0"]')
        page.locator("[data-evidence]").check()
        page.wait_for_selector("[data-drawn]")
        page.wait_for_timeout(150)
        assert "screening" in page.content()
        picture(page, "aided")
        page.get_by_role("button", name="Keep and go on").click()
        page.wait_for_selector("text=case 2 of 3")
    with parts.service.store.read() as session:
        read = list(session.scalars(select(ReaderReading).where(ReaderReading.answered_at.is_not(None))))
        assert sorted((one.arm, one.confidence) for one in read) == [
            ("aided", 50), ("unaided", 20), ("unaided", 50), ("unaided", 80)]  # fmt: skip
        assert all(one.seconds is not None and 0 < one.seconds < 60 for one in read)
        assert verify_trail(session) == []
