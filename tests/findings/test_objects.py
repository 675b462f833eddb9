"""Every object is read and accepted by tools that know nothing of us: dciodvfy, dsrdump, pydicom."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest

from resight.errors import OutputError
from resight.findings import Code, code_of, derived_uid, write_objects
from resight.findings.base import ObjectKind
from resight.findings.presentation import outlines

KINDS: tuple[ObjectKind, ...] = ("sr", "sc", "gsps", "pm")


def run(program: str, path: Path, *flags: str) -> str:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    done = subprocess.run([program, *flags, str(path)], capture_output=True, timeout=60, check=False)
    return (done.stdout + done.stderr).decode()


def dsrdump(path: Path) -> str:
    return run("dsrdump", path, "+Pl")


@pytest.fixture
def both(make_study, radiograph, ct_slice):
    return make_study(radiograph, ct_slice)


@pytest.fixture
def report(both, tmp_path: Path) -> pydicom.Dataset:
    return pydicom.dcmread(write_objects(both, ["sr"], tmp_path)[0].path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_standard_validator_accepts_every_object(both, kind: ObjectKind, tmp_path: Path) -> None:
    written = write_objects(both, [kind], tmp_path)
    assert len(written) == {"sr": 1, "sc": 2, "gsps": 2, "pm": 1}[kind]
    for one in written:
        said = run("dciodvfy", one.path)
        assert "Error" not in said, said


def test_a_source_without_body_part_is_accepted_too(make_study, radiograph, tmp_path: Path) -> None:
    del radiograph.BodyPartExamined
    for one in write_objects(make_study(radiograph), ["sr", "sc", "gsps"], tmp_path):
        said = run("dciodvfy", one.path)
        assert "Error" not in said, said


def test_a_report_that_supersedes_another_names_it_and_is_accepted(both, tmp_path: Path) -> None:
    (before,) = write_objects(both, ["sr"], tmp_path)
    (after,) = write_objects(replace(both, key="later", supersedes=both.key), ["sr"], tmp_path)
    assert "Error" not in run("dciodvfy", after.path)
    (named,) = pydicom.dcmread(after.path).PredecessorDocumentsSequence
    assert named.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == before.sop_uid


def test_names_in_any_script_survive(make_study, radiograph, tmp_path: Path) -> None:
    radiograph.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    for one in write_objects(make_study(radiograph), ["sr", "sc", "gsps"], tmp_path):
        assert pydicom.dcmread(one.path).PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"


def test_dsrdump_reads_the_report_with_all_that_it_says(both, tmp_path: Path) -> None:
    text = dsrdump(write_objects(both, ["sr"], tmp_path)[0].path)
    for part in (
        "60046008",
        "0.8125",
        "youden",
        "ab" * 32,
        "chest: Effusion in image",
        "Below the threshold",
        "research use only",
    ):
        assert part in text
    assert "ormal" not in text
    assert "Absent" not in text


def groups(report: pydicom.Dataset) -> list[pydicom.Dataset]:
    measurements = next(i for i in report.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010")
    return list(measurements.ContentSequence)


def codes_in(group: pydicom.Dataset) -> dict[str, str]:
    items = (i for i in group.ContentSequence if "ConceptCodeSequence" in i)
    return {i.ConceptNameCodeSequence[0].CodeMeaning: i.ConceptCodeSequence[0].CodeValue for i in items}


def test_a_report_has_one_group_for_each_image_and_label(report: pydicom.Dataset) -> None:
    found = [codes_in(group) for group in groups(report)]
    assert [c["Finding"] for c in found] == ["60046008", "stroke-like-thin"] * 2
    assert [c["Decision at the operating point"] for c in found] == ["52101004", "below-threshold"] * 2
    assert found[0]["Finding in RadLex"] == "RID34539"
    assert all(c["Image quality alert"] == "rotated" for c in found)
    assert report.PatientName == "Müller^Jürgen"


def test_tracking_identifiers_stay_with_image_and_label_when_the_model_changes(both, tmp_path: Path) -> None:
    def tracked(version: str) -> list[str]:
        model = replace(both.model, version=version)
        path = write_objects(replace(both, model=model, key=version), ["sr"], tmp_path / version)[0].path
        items = [i for group in groups(pydicom.dcmread(path)) for i in group.ContentSequence]
        return [str(i.UID) for i in items if i.ConceptNameCodeSequence[0].CodeValue == "112040"]

    first = tracked("a")
    assert first == tracked("b")
    assert len(set(first)) == 4


def test_without_an_operating_point_there_is_no_decision(both, tmp_path: Path) -> None:
    images = [
        replace(i, findings=tuple(replace(f, threshold=None, decision=None) for f in i.findings)) for i in both.images
    ]
    bare = replace(both, images=tuple(images), operating_point=None, calibrated=False)
    report = pydicom.dcmread(write_objects(bare, ["sr"], tmp_path)[0].path)
    assert all("Decision at the operating point" not in codes_in(group) for group in groups(report))
    text = dsrdump(write_objects(bare, ["sr"], tmp_path)[0].path)
    assert "Uncalibrated score" in text
    assert "operating point: none" in text


def test_a_cleared_model_is_not_called_research_only(both, tmp_path: Path) -> None:
    cleared = replace(both, model=replace(both.model, clearance="Cleared as K000000."))
    texts = [dsrdump(write_objects(study, ["sr"], tmp_path / n)[0].path) for n, study in (("a", both), ("b", cleared))]
    assert ["research use only" in text for text in texts] == [True, False]
    assert "use: Cleared as K000000." in texts[1]


def test_writing_again_gives_the_same_objects(both, tmp_path: Path) -> None:
    first, second = (write_objects(both, KINDS, tmp_path / name) for name in ("a", "b"))
    assert [one.sop_uid for one in first] == [one.sop_uid for one in second]
    other = write_objects(replace(both, key="other"), KINDS, tmp_path / "c")
    assert not {one.sop_uid for one in first} & {one.sop_uid for one in other}


def test_the_capture_shows_the_evidence_and_the_words(both, tmp_path: Path) -> None:
    written = write_objects(both, ["sc"], tmp_path)
    capture = pydicom.dcmread(written[0].path)
    plain = pydicom.dcmread(
        write_objects(replace(both, images=tuple(replace(i, maps={}) for i in both.images)), ["sc"], tmp_path / "p")[
            0
        ].path
    )
    with_evidence, without = capture.pixel_array, plain.pixel_array
    assert with_evidence.shape[1] == 1024
    image = with_evidence[:1200].astype(int) - without[:1200]
    changed = np.abs(image).sum(axis=2) > 0
    inside = changed[310:540, 210:450].mean()  # the spot, at 1024 / 200 of its size
    assert inside > 0.9
    assert changed[700:1200].mean() == 0
    assert with_evidence[-60:].max() == 255
    assert capture.BurnedInAnnotation == "YES"
    assert "research use only" in capture.DerivationDescription


def test_outlines_follow_the_region_on_the_grid_of_the_original() -> None:
    evidence = np.zeros((24, 20), np.float32)
    evidence[6:11, 4:9] = 1
    (line,) = outlines(evidence, 240, 200)
    assert np.array_equal(line[0], line[-1])
    assert line.min(axis=0) == pytest.approx([45, 65])
    assert line.max(axis=0) == pytest.approx([85, 105])
    assert outlines(np.full((24, 20), np.nan, np.float32), 240, 200) == []
    assert outlines(np.zeros((24, 20), np.float32), 240, 200) == []


def test_the_map_holds_the_evidence_where_the_patient_lies(both, tmp_path: Path) -> None:
    (written,) = write_objects(both, ["pm"], tmp_path)
    found = pydicom.dcmread(written.path)
    plane = found.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    assert list(plane.ImagePositionPatient) == [-100.5, -120.25, 33.0]
    assert np.array_equal(found.pixel_array > 0.5, both.images[1].maps["Effusion"] > 0.5)


def test_codes_of_the_settings_go_first_and_unknown_labels_get_our_own() -> None:
    assert code_of("Pleural_Effusion").value == "60046008"
    own = {"Effusion": Code(value="1", scheme="99SITE", meaning="wet")}
    assert code_of("Effusion", own).scheme == "99SITE"
    assert code_of("Something, very new indeed").model_dump() == {
        "value": "something-very-n", "scheme": "99RESIGHT", "meaning": "Something, very new indeed",
    }  # fmt: skip


def test_derived_uids_are_valid_and_distinct() -> None:
    many = {derived_uid("x", str(n)) for n in range(1000)}
    assert len(many) == 1000
    assert all(pydicom.uid.UID(uid).is_valid for uid in many)


def test_a_folder_that_cannot_be_written_is_an_output_error(both, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="results cannot be written"):
        write_objects(both, ["sr"], tmp_path / "file" / "below")
