"""What a hospital reads of what left it: every message, to whom, and how it was protected."""

import json
from pathlib import Path

import pandas as pd
import pytest

from resight.cli.main import main
from resight.errors import DataError
from resight.federated.ledger import LINE, departures, read_ledger
from resight.federated.simulate import run_sites


@pytest.fixture
def folder(settings, three, tmp_path: Path) -> Path:
    """Of a site after two rounds under secure aggregation."""
    run_sites("federated", settings(privacy={"secure_aggregation": True}), three, tmp_path)
    return tmp_path / "sites" / "a"


def test_a_ledger_is_summed_by_kind_and_loses_nothing(folder: Path) -> None:
    entries = read_ledger(folder / "ledger.jsonl")
    found = departures(entries)
    assert sum(one.messages for one in found) == len(entries)
    assert sum(one.numbers for one in found) == sum(entry["numbers"] for entry in entries)
    by_what = {one.what.partition(";")[0]: one for one in found}
    changed = by_what["how the weights changed in training at the site"]
    assert (changed.numbers, changed.messages) == (0, 2)
    assert changed.what.endswith("held back until they can leave under masks")
    masked = by_what["numbers of this site under masks that only the sum over sites takes off"]
    assert masked.protected_by == "masks; the server can read the sum over sites alone"
    assert masked.messages == 4, "two rounds, validation counts and test counts"
    shares = by_what["encrypted shares of this site's masks, one for each other site"]
    assert shares.to == "each other site, through the server"
    assert "cannot read" in shares.protected_by
    assert all(one.first <= one.last for one in found)


def test_the_command_shows_writes_and_sums(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["federate", "ledger", str(folder), "--out", str(tmp_path / "left.csv")]) == 0
    shown = capsys.readouterr()
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    assert f"{len(lines)} messages" in shown.err
    assert "who the site is" in shown.out
    table = pd.read_csv(tmp_path / "left.csv")
    assert list(table.columns) == list(LINE)
    assert table["numbers"].tolist() == [json.loads(line)["numbers"] for line in lines]
    assert main(["federate", "ledger", str(folder / "ledger.jsonl"), "--json"]) == 0
    assert sum(one["messages"] for one in json.loads(capsys.readouterr().out)) == len(lines)
    assert main(["federate", "ledger", str(folder), "--out", str(tmp_path / "left.csv")]) == 7


@pytest.mark.parametrize("damage", ["{", "[1]", '{"time": "now"}', ""])
def test_a_ledger_that_was_cut_off_or_changed_is_told_in_one_line(folder: Path, damage: str) -> None:
    path = folder / "ledger.jsonl"
    path.write_text(path.read_text() + damage + "\n")
    with pytest.raises(DataError, match=r"line \d+ is no line of a ledger") as caught:
        read_ledger(path)
    assert "\n" not in str(caught.value)


def test_no_ledger_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_ledger(tmp_path / "ledger.jsonl")
