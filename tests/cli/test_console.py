"""Outputs are looked at before any work is done, and `--force` removes nothing that is not ours."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from resight.cli.console import check_free, fresh, result_table, say
from resight.cli.main import build_app, main
from resight.errors import OutputError

_IN = "not-there"
"""Inputs that do not exist: whoever looks at them first complains of them, and not of the output."""
WRITERS = [
    ["audit", _IN, "--by", "sex", "--out"],
    ["data", "datasheet", _IN, "--out"],
    ["data", "import", _IN, "--out"],
    ["data", "leakcheck", _IN, "--clusters"],
    ["data", "split", _IN, "--out"],
    ["defer", _IN, _IN, "--policy", "band", "--out"],
    ["defer", _IN, _IN, "--policy", "band", "--report"],
    ["demo", "--out"],
    ["evaluate", _IN, "--out"],
    ["evidence", _IN, "--out"],
    ["explain", _IN, _IN, "--out"],
    ["federate", "ledger", _IN, "--out"],
    ["fewshot", _IN, _IN, "--out"],
    ["fewshot", _IN, _IN, "--finetune", "2", "--weights"],
    ["mitigate", _IN, "--by", "sex", "--out"],
    ["monitor", _IN, _IN, "--out"],
    ["plan", _IN, "--out"],
    ["predict", _IN, _IN, "--out"],
    ["readerstudy", "analyse", _IN, _IN, "--out"],
    ["readerstudy", "analyse", _IN, _IN, "--report"],
    ["readerstudy", "design", _IN, "--readers", "a", "--readers", "b", "--out"],
    ["reproduce", "brain", "--out"],
    ["weights", "fetch", "torchhub:resnet50", "--out"],
    ["weights", "import", _IN, "--backbone", "resnet", "--out"],
    ["worklist", _IN, "--report"],
    ["zeroshot", _IN, _IN, "--descriptions", _IN, "--out"],
]
NOT_FIRST = {
    *(("train",), ("pretrain",), ("federate", "simulate"), ("federate", "provision"), ("federate", "server")),
    *(("export",), ("data", "deidentify"), ("data", "phantom")),
}
"""Their settings or sources are looked at first, which takes no time."""


def _forced() -> set[tuple[str, ...]]:
    """Every verb that knows `--force`."""
    found: set[tuple[str, ...]] = set()
    app = build_app()
    for name in app:
        if name.startswith("-"):
            continue
        verb = app[name]
        inner = [(name, one) for one in verb if not one.startswith("-")] or [(name,)]
        for path in inner:
            command = verb[path[-1]] if len(path) > 1 else verb
            if "--force" in {name for argument in command.assemble_argument_collection() for name in argument.names}:
                found.add(path)
    return found


def test_every_verb_that_writes_is_asked() -> None:
    listed = {tuple(word for word in words[:2] if word not in (_IN, "--out", "brain")) for words in WRITERS}
    listed = {path[:1] if path[0] not in ("data", "federate", "weights", "readerstudy") else path for path in listed}
    assert listed | NOT_FIRST == _forced()


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_taken_output_is_refused_before_inputs_are_read(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "taken"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for force in ([], ["--force"]):
        assert main([*words, "taken", *force]) == OutputError.exit_code
        assert "OutputError: taken: " in capsys.readouterr().err
    assert (folder / "mine.txt").read_text() == "mine"


def test_who_was_interrupted_is_told_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").touch()
    with pytest.raises(OutputError, match="give --resume"):
        fresh(tmp_path, force=False, resumable=True)
    with pytest.raises(OutputError, match="another name, or give --force"):
        fresh(tmp_path, force=False)
    (tmp_path / "settings.toml").rename(tmp_path / "mine.toml")
    with pytest.raises(OutputError, match="another name, or give --force"):
        fresh(tmp_path, force=False, resumable=True)


def test_force_replaces_what_is_ours_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, project = tmp_path / "project" / "runs" / "first", tmp_path / "project"
    run.mkdir(parents=True)
    (run / "settings.toml").touch()
    (project / "experiment.toml").touch()
    assert fresh(run, force=True) == run
    assert not run.exists()
    with pytest.raises(OutputError, match="holds something else"):
        fresh(project, force=True)
    (project / "settings.toml").touch()
    (project / "inside").mkdir()
    for here in (project, project / "inside"):
        monkeypatch.chdir(here)
        with pytest.raises(OutputError, match="the folder you are in"):
            fresh(project, force=True)
    assert (project / "experiment.toml").exists()


def test_where_nothing_can_be_written_is_known_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="file: a file; expected a folder"):
        check_free(tmp_path / "file" / "below" / "out.csv", force=False)
    check_free(tmp_path / "new" / "deep" / "out.csv", None, force=False)
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the superuser may write everywhere
    with pytest.raises(OutputError, match="you may not write there"):
        check_free(tmp_path / "new.csv", force=False)


def test_talk_is_not_broken_into_lines(capsys: pytest.CaptureFixture[str]) -> None:
    say("word " * 100)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_files_that_would_be_removed_keep_their_identity(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deidentified.csv").touch()
    key = ["--key-file", str(tmp_path / "key"), "--force"]
    assert main(["data", "deidentify", str(tmp_path / "out"), str(tmp_path / "out"), *key]) == OutputError.exit_code
    assert main(["data", "deidentify", str(tmp_path / "none"), str(tmp_path / "out"), *key]) == 4
    assert (tmp_path / "out" / "deidentified.csv").exists()


def test_columns_of_numbers_alone_are_right_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("0001.png", "0.5 (0.4-0.6)", 7), ("12.png", "not estimable (3)", "")]
    result_table(("image", "AUROC of it", "images"), rows)
    first, second = capsys.readouterr().out.splitlines()[3:5]
    assert first.startswith("│ 0001.png │     0.5 (0.4-0.6) │      7 │")
    assert second.startswith("│ 12.png   │ not estimable (3) │        │")
