import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resight.errors import BundleError, DataError
from resight.explain import NearestCases, Neighbour


def _cases():
    features = np.array([[1.0, 0.0], [10.0, 1.0], [0.0, 2.0], [-3.0, 0.0]])
    return NearestCases.fit(features, ["a", "b", "c", "d"], ["P1", "P1", "P2", "P3"])


def test_nearest_by_angle_with_distances():
    (found,) = _cases().query(np.array([[2.0, 0.0]]), [None], count=9)
    assert [n.image for n in found] == ["a", "b", "c", "d"]
    assert found[0] == Neighbour("a", "P1", 0.0)
    assert found[1].distance == pytest.approx(1 - 10 / np.sqrt(101), abs=1e-6)
    assert found[2].distance == pytest.approx(1)
    assert found[3].distance == pytest.approx(2)


@given(seed=st.integers(0, 10_000), count=st.integers(1, 12))
def test_never_the_same_patient(seed, count):
    rng = np.random.default_rng(seed)
    patients = [f"P{i}" for i in rng.integers(4, size=12)]
    cases = NearestCases.fit(rng.normal(size=(12, 3)), [f"i{i}" for i in range(12)], patients)
    for patient, found in zip(patients, cases.query(rng.normal(size=(12, 3)), patients, count=count), strict=True):
        assert patient not in {n.patient for n in found}
        assert len(found) == min(count, sum(p != patient for p in patients))
        assert [n.distance for n in found] == sorted(n.distance for n in found)


def test_a_patient_number_is_the_same_patient_as_its_text():
    cases = NearestCases.fit(np.eye(2), [0, 1], [17, 18])
    (found,) = cases.query(np.array([[1.0, 0.1]]), [17])
    assert [n.patient for n in found] == ["18"]


def test_written_and_read_again(tmp_path):
    _cases().save(tmp_path / "cases.safetensors")
    again = NearestCases.load(tmp_path / "cases.safetensors")
    question = np.array([[0.3, 0.4], [-1.0, 0.1]])
    assert again.query(question, ["P1", None]) == _cases().query(question, ["P1", None])
    assert len(again) == 4


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(DataError, match="row 1 has length 0"):
        NearestCases.fit(np.array([[1.0, 1.0], [0.0, 0.0]]), ["a", "b"], ["p", "q"])
    with pytest.raises(DataError, match="row 0 has length nan"):
        NearestCases.fit(np.array([[np.nan, 1.0]]), ["a"], ["p"])
    with pytest.raises(DataError, match="2 rows of features, 1 images, 2 patients"):
        NearestCases.fit(np.ones((2, 2)), ["a"], ["p", "q"])
    with pytest.raises(DataError, match=r"features \(1, 3\) and 1 patients; expected rows of 2"):
        _cases().query(np.ones((1, 3)), [None])
    (tmp_path / "other").write_bytes(b"no such thing")
    for name in ("other", "absent"):
        with pytest.raises(BundleError, match="not a file of nearest cases"):
            NearestCases.load(tmp_path / name)
