"""One line an error; exit codes; nothing lost on the way between processes."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from resight import errors
from resight.errors import (
    DependencyError,
    ImageError,
    OutputError,
    ResightError,
    nearest,
    require,
    similar_path,
    writing,
)

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ResightError)]


def test_the_parts_make_one_line() -> None:
    error = ImageError("spacing 0.0 mm", where="a.nii.gz", expected="> 0", fix="Fix the header.")
    assert str(error) == "a.nii.gz: spacing 0.0 mm; expected > 0. Fix the header."
    assert str(ImageError("broken")) == "broken"


@pytest.mark.parametrize("kind", ALL)
def test_every_error_crosses_a_process_border(kind: type[ResightError]) -> None:
    error = kind("found", where="where", expected="expected", fix="Fix.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.found, again.where, again.expected, again.fix) == ("found", "where", "expected", "Fix.")


def test_the_tree_is_the_one_drawn_on_top() -> None:
    drawn = errors.__doc__ or ""
    for kind in ALL:
        assert kind.__name__ in drawn
        if kind.__base__ is ResightError:
            assert re.search(rf"{kind.__name__} +{kind.exit_code} ", drawn), kind
    codes = [kind.exit_code for kind in ALL if kind.__base__ in (Exception, ResightError)]
    assert len(set(codes)) == len(codes)
    assert all(kind.exit_code == errors.DataError.exit_code for kind in ALL if issubclass(kind, errors.DataError))


def test_nearest_names_one_or_all_or_none() -> None:
    assert nearest("linnear", ["linear", "elm"]) == "Did you mean 'linear'?"
    assert nearest("LINEAR", ["Linear", "elm"]) == "Did you mean 'Linear'?"
    assert nearest("xyz", ["b", "a"]) == "Known: a, b."
    assert nearest("xyz", []) == "There are none."


def test_require_names_the_extra() -> None:
    assert require("json", extra="x").dumps([1]) == "[1]"
    with pytest.raises(DependencyError, match=r"'no_such_library' is not installed .* pip install 'resight\[fast\]'"):
        require("no_such_library", extra="fast")


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").touch()
    assert similar_path(tmp_path / "cohrot.csv") == f"Did you mean '{tmp_path / 'cohort.csv'}'?"
    assert similar_path(tmp_path / "other") == ""
    assert similar_path(tmp_path / "none" / "deep" / "x.csv") == f"There is no folder '{tmp_path / 'none'}'."


def test_what_the_system_refuses_while_writing_is_one_line(tmp_path: Path) -> None:
    target = tmp_path / "none" / "x.txt"
    message = f"{target}: cannot be written (No such file or directory)"
    with pytest.raises(OutputError, match=re.escape(message)), writing(target):
        target.write_text("x")
    with pytest.raises(ValueError, match="ours"), writing(target):
        raise ValueError("ours")
