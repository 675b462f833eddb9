from __future__ import annotations

import json
from pathlib import Path

import pytest

from resight.cli.main import main

_CLAIM = """
[[claims]]
id = "impossible"
kind = "rates"
statement = "Ten of ten and yet not all."
source = "nobody"
positives = 10
negatives = 10
rates = { accuracy = "0.99", sensitivity = "1.0" }
"""


def test_every_claim_of_the_review_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "check"]) == 0
    shown = capsys.readouterr().out
    assert "brain-rates" in shown
    assert "not checkable" in shown
    assert "inconsistent" in shown


def test_json_holds_the_verdicts_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "claims.toml"
    path.write_text(_CLAIM, encoding="utf-8")
    assert main(["claims", "check", str(path), "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["id"], found["verdict"]) == ("impossible", "inconsistent")
    assert set(found) == {"id", "verdict", "statement", "source", "explanation"}


def test_a_file_that_is_not_there_ends_with_the_code_of_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["claims", "check", "nowhere.toml"]) == 3
    assert "nowhere.toml" in capsys.readouterr().err
