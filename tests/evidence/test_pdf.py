"""A page on paper: whatever stands on it lies within the sheet."""

from __future__ import annotations

from pathlib import Path

import pytest

from resight.errors import require
from resight.evidence.page import Page, Section, render_page
from resight.evidence.risks import draft_text, read_risks, risk_table

pytest.importorskip("yaml", reason="the extra `evidence` is not installed")


def test_the_risk_file_with_all_its_columns_fits_on_the_sheet(tmp_path: Path) -> None:
    try:
        weasyprint = require("weasyprint", extra="evidence")
    except OSError as error:  # Pango is not there
        pytest.skip(str(error))
    (tmp_path / "risks.yaml").write_text(draft_text(), encoding="utf-8")
    table = risk_table(read_risks(tmp_path / "risks.yaml"), {"risk_missed": "Missed on the test images. " * 8})
    page = Page("Evidence pack", "small", (Section("Risk file", tables=(table,)),))
    document = weasyprint.HTML(string=render_page(page)).render()
    for sheet in document.pages:
        for box in sheet._page_box.descendants():
            if getattr(box, "text", "").strip():
                assert box.position_x + box.width <= sheet.width, box.text
