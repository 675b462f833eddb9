"""The report in a real browser: nothing overflows, nothing is loaded, light and dark differ."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import cv2
import pytest

from resight.evidence import ReportContent, render_report

pytestmark = pytest.mark.slow

_BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_PROBE = """<script>addEventListener('load', () => {
  const wide = [...document.querySelectorAll('body *')].filter(e => {
    const scrolls = e.closest('[data-scrolls], .scroll, .table-scroll, pre, table, svg');
    return !scrolls && e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
  });
  document.title = JSON.stringify({
    page: document.documentElement.scrollWidth, view: document.documentElement.clientWidth,
    wide: wide.length, loaded: performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length,
    sections: document.querySelectorAll('section').length,
  });
});</script>"""


@pytest.fixture(scope="module", autouse=True)
def _browser() -> None:
    if _BROWSER is None:
        pytest.skip("no Chromium is installed")


def browse(page: Path, tmp_path: Path, width: int, *flags: str) -> str:
    command = [_BROWSER, *_FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},1600", *flags]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("name", ["binary", "three", "fourteen"])
def test_no_page_is_wider_than_its_window_and_nothing_is_fetched(
    name: str, width: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    content: ReportContent = request.getfixturevalue(name)
    # The probe is a script of its own, so the policy that forbids it is taken out of this copy.
    html = re.sub(r"<meta[^>]*Content-Security-Policy[^>]*>", "", render_report(content))
    page = tmp_path / "report.html"
    page.write_text(html.replace("</body>", _PROBE + "</body>"), encoding="utf-8")
    dom = browse(page, tmp_path, width, "--dump-dom")
    found = dict(re.findall(r'"(\w+)":(\d+)', re.search(r"<title>(.*?)</title>", dom)[1].replace("&quot;", '"')))
    assert int(found["page"]) <= int(found["view"]), found
    assert int(found["loaded"]) == 0
    assert int(found["sections"]) >= 5


def test_dark_readers_get_a_dark_page(binary: ReportContent, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(render_report(binary), encoding="utf-8")
    brightness = {}
    for name, flags in {"light": (), "dark": ("--blink-settings=preferredColorScheme=0",)}.items():
        picture = tmp_path / f"{name}.png"
        browse(page, tmp_path, 1280, f"--screenshot={picture}", *flags)
        pixels = cv2.imread(str(picture))
        assert pixels.std() > 5, "the page is blank"
        brightness[name] = pixels.mean()
    assert brightness["light"] > 200
    assert brightness["dark"] < 80
