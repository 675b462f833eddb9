"""The command line itself: help without torch, one verb at a time, and streams that do not mix."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from resight.cli.main import build_app, main


def _verbs() -> list[list[str]]:
    app = build_app()
    verbs = [name for name in app if not name.startswith("-")]
    return [[verb, *below] for verb in verbs for below in ([[n] for n in app[verb] if not n.startswith("-")] or [[]])]


VERBS = _verbs()
_HELP = """
import resource, sys
from resight.cli.main import main
code = main(sys.argv[1:])
used = resource.getrusage(resource.RUSAGE_SELF)
heavy = sorted({"torch", "pandas", "cv2", "scipy"} & set(sys.modules))
print(code, heavy, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def _help(*arguments: str) -> tuple[str, str, list[str]]:
    done = subprocess.run([sys.executable, "-c", _HELP, *arguments], capture_output=True, text=True, check=True)
    code, *heavy, seconds = done.stderr.split()
    return done.stdout, f"{code} {' '.join(heavy)}", [seconds]


def test_help_is_quick_and_names_every_verb() -> None:
    out, state, (seconds,) = _help("--help")
    assert state == "0 []"
    assert all(verb[0] in out for verb in VERBS)
    assert float(seconds) < 0.8  # 0.15 s when nothing else runs


def test_help_of_every_verb_imports_nothing_heavy() -> None:
    code = (
        "import sys; from resight.cli.main import main\n"
        f"for verb in {VERBS!r}: assert main([*verb, '--help']) == 0\n"
        "print(sorted({'torch', 'pandas', 'cv2', 'scipy'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_says_what_a_verb_and_its_options_are(verb: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*verb, "--help"]) == 0
    assert f"resight {' '.join(verb)}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


@pytest.mark.parametrize("verb", ["list", "doctor"])
def test_json_is_all_there_is_on_stdout(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)


def test_list_of_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "loss"]) == 0
    assert "focal" in capsys.readouterr().out
    assert main(["list", "los"]) == 3
    assert "Did you mean 'loss'?" in capsys.readouterr().err


def test_what_the_system_refuses_is_one_line(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/somewhere/x.csv")

    monkeypatch.setattr("resight.cli.list_.result_table", refuse)
    assert main(["list", "loss"]) == 7
    assert capsys.readouterr().err == "OutputError: /somewhere/x.csv: Permission denied\n"


def test_a_defect_keeps_its_traceback(monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("resight.cli.list_.result_table", fail)
    with pytest.raises(ZeroDivisionError):
        main(["list", "loss"])


def test_ctrl_c_is_130(monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("resight.cli.list_.result_table", interrupt)
    assert main(["list", "loss"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
    monkeypatch.setattr("resight.experiments.load_experiment", interrupt)
    assert main(["train", "x.toml", "--out", "y"]) == 130
    assert capsys.readouterr().err == "interrupted; what was finished is kept. Continue with --resume.\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("predict", "usage: BUNDLE is missing. See: resight predict --help"),
        ("data split x", "usage: --out is missing. See: resight data split --help"),
        ("list backbone resent", "usage: nothing is expected at 'resent'. See: resight list --help"),
        ("predict x --out", "--out requires an argument. See: resight predict --help"),
        ("train x --ouut y", "--out is missing, and --ouut is unknown. See: resight train --help"),
    ],
)
def test_wrong_usage_names_what_is_wrong(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words.split()) == 2
    assert complaint in capsys.readouterr().err
