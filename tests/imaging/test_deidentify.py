"""Planted names: none survives in any element, file name, log or byte; what belonged together still does."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from resight.errors import DataError, ImageError, OutputError
from resight.imaging import read
from resight.imaging.deidentify_folder import DeidentifiedFolder, deidentify_folder

pytest.importorskip("dicomanonymizer", reason="the extra `clinic` is not installed")
PLANTED = ("Zwetschgenbaum", "ZWETSCHGENBAUM", "Quetzalcoatl", "MRN778899", "Hollerbusch")
DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"


def planted(study: str, patient: str = "MRN778899", **more: object) -> Dataset:
    """A radiograph with a name wherever one can stand."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DIGITAL_X_RAY
    dataset.file_meta.SourceApplicationEntityTitle = "ZWETSCHGENBAUM"
    dataset.preamble = b"Zwetschgenbaum".ljust(128, b"\0")
    dataset.SOPClassUID, dataset.SOPInstanceUID = DIGITAL_X_RAY, generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study[:60]}.1"
    dataset.PatientName, dataset.PatientID = "Zwetschgenbaum^Quetzalcoatl", patient
    dataset.PatientBirthDate, dataset.StudyDate, dataset.ContentDate = "19610203", "20240229", "20240301"
    dataset.StudyTime, dataset.AcquisitionDateTime = "101112", "20240301101112.5"
    dataset.ReferringPhysicianName, dataset.InstitutionName = "Hollerbusch^A", "Hollerbusch Clinic"
    dataset.StudyDescription = "Chest of Zwetschgenbaum"
    dataset.AcquisitionDeviceProcessingDescription = "made for quetzalcoatl"
    dataset.Modality, dataset.BodyPartExamined = "DX", "CHEST"
    inner = Dataset()
    inner.PatientName, inner.PatientID = "Zwetschgenbaum^Q", patient
    inner.ReferencedSOPClassUID, inner.ReferencedSOPInstanceUID = DIGITAL_X_RAY, dataset.SOPInstanceUID
    inner.private_block(0x0011, "ACME", create=True).add_new(1, "LO", "Hollerbusch")
    outer = Dataset()
    outer.ReferencedImageSequence = Sequence([inner])
    dataset.ReferencedStudySequence = Sequence([outer])
    dataset.SourceImageSequence = Sequence([inner])
    dataset.private_block(0x0029, "ACME", create=True).add_new(1, "LO", "Zwetschgenbaum")
    dataset.add_new(0x60000022, "LO", "overlay of Zwetschgenbaum")
    dataset.add_new(0xFFFCFFFC, "OB", b"Zwetschgenbaum")
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = 16, 16, 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = np.arange(256, dtype=np.uint8).tobytes()
    for name, value in more.items():
        setattr(dataset, name, value)
    return dataset


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in" / "Zwetschgenbaum"
    folder.mkdir(parents=True)
    study = generate_uid()
    for number in range(2):
        planted(study).save_as(folder / f"Zwetschgenbaum {number}.dcm", enforce_file_format=True)
    other = planted(generate_uid(), patient="MRN112233")
    other.save_as(folder / "other.dcm", enforce_file_format=True)
    return tmp_path / "in"


def run(source: Path, tmp_path: Path, **options: object) -> DeidentifiedFolder:
    return deidentify_folder(source, tmp_path / "out", tmp_path / "key.json", **options)  # type: ignore[arg-type]


def written(tmp_path: Path) -> list[Dataset]:
    return [pydicom.dcmread(path) for path in sorted((tmp_path / "out").rglob("*.dcm"))]


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_no_planted_name_survives_anywhere(source, tmp_path, dates):
    broken = source / "Quetzalcoatl.dcm"
    broken.write_bytes(b"Zwetschgenbaum is no DICOM file. " * 9)
    done = run(source, tmp_path, dates=dates)
    assert done.written == 3
    assert len(done.log) == 4
    for path in (tmp_path / "out").rglob("*"):
        shown = path.relative_to(tmp_path).as_posix().encode() + (path.read_bytes() if path.is_file() else b"")
        for name in (*PLANTED, "MRN112233"):
            assert name.lower().encode() not in shown.lower(), (path.name, name)
    assert not any(name.lower() in done.log.to_csv().lower() for name in PLANTED)


def test_flags_say_what_was_done(source, tmp_path):
    run(source, tmp_path)
    for dataset in written(tmp_path):
        assert dataset.PatientIdentityRemoved == "YES"
        assert dataset.DeidentificationMethod
        assert [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence] == ["113100"]
        assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
        assert not any(element.tag.is_private for element in dataset.iterall())
        assert not any(e.value for e in dataset.iterall() if e.VR in ("DA", "DT", "TM"))


def test_what_belonged_together_still_does_also_in_a_later_folder(source, tmp_path):
    run(source, tmp_path)
    first = written(tmp_path)
    studies = {dataset.StudyInstanceUID for dataset in first}
    assert len(studies) == len({dataset.PatientID for dataset in first}) == 2
    assert all(uid.startswith("2.25.") for uid in studies)
    for dataset in first:
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.SOPClassUID == dataset.SourceImageSequence[0].ReferencedSOPClassUID == DIGITAL_X_RAY
    shutil.rmtree(tmp_path / "out")
    run(source, tmp_path)
    assert {dataset.StudyInstanceUID for dataset in written(tmp_path)} == studies


def test_dates_are_shifted_alike_within_a_patient(source, tmp_path):
    run(source, tmp_path, dates="shift")
    shifts = {}
    for dataset in written(tmp_path):
        study, content = (np.datetime64(f"{d[:4]}-{d[4:6]}-{d[6:8]}") for d in (dataset.StudyDate, dataset.ContentDate))
        assert (content - study).astype(int) == 1
        assert study < np.datetime64("2024-02-29")
        assert not dataset.get("PatientBirthDate")
        assert "113107" in [item.CodeValue for item in dataset.DeidentificationMethodCodeSequence]
        shifts.setdefault(dataset.PatientID, set()).add(study)
    assert len(shifts) == 2
    assert all(len(days) == 1 for days in shifts.values())


def test_the_key_is_private_leads_back_and_is_sealed(source, tmp_path):
    done = run(source, tmp_path)
    key = tmp_path / "key.json"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    stored = json.loads(key.read_text())
    assert set(stored["patients"].values()) == {"MRN778899", "MRN112233"}
    assert all((source / stored["files"][name]).is_file() for name in done.log["file"])
    key.write_text(key.read_text().replace("MRN778899", "MRN778898"))
    with pytest.raises(DataError, match="was changed"):
        run(source, tmp_path)


@pytest.mark.parametrize("place", ["out", "in"])
def test_a_key_among_the_files_is_refused(source, tmp_path, place):
    with pytest.raises(OutputError, match="among the files"):
        deidentify_folder(source, tmp_path / "out", tmp_path / place / "key.json")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["in/out", "in", "."])
def test_files_with_and_without_identity_in_one_folder_are_refused(source, tmp_path, place):
    before = sorted(path for path in tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="in one folder"):
        deidentify_folder(source, tmp_path / place, tmp_path.parent / "key.json")
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_one_file_may_go_into_a_folder_beside_it(source, tmp_path):
    one = source / "Zwetschgenbaum" / "other.dcm"
    assert deidentify_folder(one, source / "out", tmp_path / "key.json").written == 1


def hidden_in_depth() -> Dataset:
    """What the header's own names do not give away: words of elements that hold no names, at three levels."""
    dataset = planted(generate_uid())
    dataset.add_new(0x0008FFF0, "LO", "Elm Street")  # a public element that the standard does not know
    dataset.add_new(0x60003000, "OW", b"\1" * 32)
    dataset.add_new(0x50003000, "OW", b"\2" * 32)
    dataset.EncapsulatedDocument = b"%PDF Elm Street "
    dataset.ImageComments = dataset.AdditionalPatientHistory = dataset.ProtocolName = "Elm Street"
    dataset.PatientAge, dataset.DeviceUID = "095Y", "1.2.3.4.778"
    dataset.IrradiationEventUID = ["1.2.3.4.779", dataset.SOPInstanceUID]
    text, middle = Dataset(), Dataset()
    text.ValueType, text.TextValue = "TEXT", "lives in Elm Street"
    text.add_new(0x0008FFF1, "LO", "Elm Street")
    block = text.private_block(0x0011, "ELM STREET", create=True)
    inner = Dataset()
    inner.ReferencedSOPInstanceUID, inner.StudyDescription = "1.2.3.4.780", "Elm Street"
    block.add_new(1, "SQ", Sequence([inner]))
    middle.ContentSequence = Sequence([text])
    middle.add_new(0x00189074, "DT", "20240301101112+0100")
    dataset.ContentSequence = Sequence([middle])
    dataset.SharedFunctionalGroupsSequence = Sequence([middle])
    return dataset


@pytest.mark.parametrize("dates", ["remove", "shift"])
def test_nothing_stays_of_what_the_names_do_not_give_away(tmp_path, dates):
    (tmp_path / "in").mkdir()
    before = hidden_in_depth()
    before.save_as(tmp_path / "in" / "a.dcm", enforce_file_format=True)
    assert run(tmp_path / "in", tmp_path, dates=dates).written == 1
    (path,) = (tmp_path / "out").rglob("*.dcm")
    for trace in (b"elm", b"1.2.3.4.7", b"20240301", b"\1\1\1\1", b"\2\2\2\2", b"095y"):
        assert trace not in path.read_bytes().lower(), trace
    after = pydicom.dcmread(path)
    assert after.IrradiationEventUID[1] == after.SOPInstanceUID, "one UID, one new UID, wherever it stands"
    assert not any(element.tag.is_private for element in after.iterall())
    assert not after.ReferencedStudySequence, "no items of nothing"


def test_a_write_that_fails_leaves_no_half_file_under_a_name(source, tmp_path, monkeypatch):
    write, written_so_far = Path.write_bytes, []

    def full(path: Path, data: bytes) -> int:
        if written_so_far:
            write(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        written_so_far.append(path)
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match="No space left"):
        run(source, tmp_path)
    assert len(written(tmp_path)) == 1, "what carries a name is whole"
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "out")
    assert run(source, tmp_path).written == 3, "with the same key"


def test_a_name_in_the_pixels_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    dataset = planted(generate_uid())
    dataset.PixelData = b"for Zwetschgenbaum".ljust(256, b"\0")
    dataset.save_as(tmp_path / "in" / "a.dcm", enforce_file_format=True)
    done = run(tmp_path / "in", tmp_path)
    assert done.written == 0
    assert "stands in the pixels" in done.log["error"][0]


@pytest.mark.parametrize(
    ("more", "warned"),
    [
        ({"BurnedInAnnotation": "YES"}, "says the header"),
        ({"Modality": "US"}, "look at them"),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, ""),
        ({}, ""),
    ],
)
def test_burned_in_text_is_warned_of(tmp_path, more, warned):
    (tmp_path / "in").mkdir()
    planted(generate_uid(), **more).save_as(tmp_path / "in" / "a.dcm", enforce_file_format=True)
    notes = run(tmp_path / "in", tmp_path).log["notes"][0]
    assert (warned in notes) if warned else "pixels" not in notes


@pytest.mark.parametrize("words", ["MUELLER^HANNA 1961", "L"])
def test_text_in_the_pixels_is_seen_whatever_the_header_says_and_a_side_marker_is_none(tmp_path, words):
    (tmp_path / "in").mkdir()
    pixels = np.full((400, 500), 70, np.uint8)
    cv2.putText(pixels, words, (20, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 255, 2, cv2.LINE_AA)
    shape = {"Rows": 400, "Columns": 500, "PixelData": pixels.tobytes(), "BurnedInAnnotation": "NO"}
    planted(generate_uid(), **shape).save_as(tmp_path / "in" / "a.dcm", enforce_file_format=True)
    notes = run(tmp_path / "in", tmp_path).log["notes"][0]
    assert ("the pixels show 1 rows of what looks like text" in notes) == (len(words) > 3)
    assert words not in notes or len(words) == 1


def test_a_path_in_place_of_a_uid_leads_nowhere(tmp_path):
    (tmp_path / "in").mkdir()
    dataset = planted(generate_uid())
    del dataset.StudyInstanceUID
    dataset.add_new(0x0020000D, "LO", "../../escaped")
    dataset.save_as(tmp_path / "in" / "a.dcm", enforce_file_format=True)
    assert run(tmp_path / "in", tmp_path).written == 0
    assert not list(tmp_path.rglob("escaped"))


def _is_read(path: Path) -> bool:
    try:
        return bool(read(path).pixels.size)
    except ImageError:
        return False


@pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # the files we read to compare break rules of their own
def test_real_files_keep_their_pixels_and_lose_their_names(real_data, tmp_path):
    source = real_data("dicom_variety")
    done = run(source, tmp_path)
    assert done.written >= 80
    assert set(done.errors) == {
        "has no SOP class or instance UID, so it is no object that can be filed",
        "another file has the same instance UID",
        "the DICOM file holds no data elements",
    }
    key = json.loads((tmp_path / "key.json").read_text())
    compared = 0
    for name, old in key["files"].items():
        before, after = pydicom.dcmread(source / old, force=True), pydicom.dcmread(tmp_path / "out" / name)
        assert after.get("PixelData") == before.get("PixelData")
        compared += "PixelData" in after
        names = {str(e.value).upper() for e in before.iterall() if e.VR == "PN" and len(str(e.value)) > 3}
        names -= {"ANONYMIZED"}
        texts = " ".join(str(e.value).upper() for e in after.iterall() if not isinstance(e.value, bytes | Sequence))
        assert not any(one in texts for one in names), old
    assert compared >= 70
    # by the old names: the new ones are drawn, and some kinds of compression are read by nobody
    new_name = {old: name for name, old in key["files"].items()}
    readable = [old for old in sorted(new_name) if _is_read(source / old)][:3]
    assert [_is_read(tmp_path / "out" / new_name[old]) for old in readable] == [True] * 3
