"""DICOM files without identity: the basic profile of PS3.15 annex E over dicom-anonymizer, and a check of the result.

The profile is applied to every level of nesting, not only to the top. Private elements, preamble and file meta
information go. UIDs and patients get new ones, computed from the old ones and a secret, so that what belonged together
still does. Whatever names the patient in the old header is then looked for in all that is left.

The pixels are not changed: what is burned into them stays. Images that may carry text, by their header or by what their
pixels look like, are named in the log.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

from pydicom.datadict import dictionary_has_tag, repeater_has_tag
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import UID, ExplicitVRLittleEndian, UID_dictionary

from resight.errors import ImageError, require
from resight.imaging.burned_in import text_rows
from resight.imaging.dicom import read_dicom
from resight.imaging.dicom_file import code, guarded, open_dicom, transfer_syntax
from resight.imaging.display import VOI

Dates = Literal["remove", "shift"]

_DATES: Final = ("DA", "DT", "TM")
_TEXTS: Final = ("AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UN", "UR", "UT")
_PATIENT_GROUPS: Final = (0x0010, 0x0038, 0x0040)
"""Birth, visit and procedure: their dates are not among those that the option keeps."""
_IDENTIFIERS: Final = (
    *("PatientID", "OtherPatientIDs", "PatientAddress", "PatientTelephoneNumbers", "AccessionNumber"),
    *("InstitutionName", "InstitutionAddress", "StationName"),
)
_NO_IDENTITY: Final = {"ANONYMIZED", "ANONYMOUS", "UNKNOWN", "NONE", "PATIENT", "NAME"}
_SEPARATORS: Final = re.compile(r"[\s^=,;]+")
_SHORTEST_WORD: Final = 3
"""Shorter parts of names (initials, `de`) stand in too many innocent words."""
_SHORTEST_IN_BYTES: Final = 5
"""In compressed pixels any four letters appear by chance."""
_LONGEST_SHIFT_DAYS: Final = 3650
_BURNED_IN: Final = ("US", "SC", "OT", "XA", "RF", "ES", "DOC")
"""Modalities whose pictures usually carry text."""
_TRAILING_PADDING: Final = 0xFFFCFFFC
_BASIC: Final = ("113100", "Basic Application Confidentiality Profile")
_MODIFIED_DATES: Final = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")


@dataclass(frozen=True)
class Deidentified:
    """One file without identity.

    Attributes:
        data: the whole file.
        name: new study, series and instance UID as a path.
        patient_id: new one.
        old_patient_id: for the key file only.
        notes: what a person should look at, one sentence each, without any value of the header.
    """

    data: bytes
    name: str
    patient_id: str
    old_patient_id: str
    notes: tuple[str, ...]


def deidentify_file(path: Path, secret: bytes, dates: Dates = "remove") -> Deidentified:
    """Take the identity out of one file.

    Args:
        path: DICOM file; its name does not come into the result.
        secret: at least 16 bytes; the same secret gives the same new UIDs and patients.
        dates: `remove` them, or `shift` them by the same number of days for all files of a patient.

    Raises:
        ImageError: it is not DICOM, has no UIDs, cannot be written again, or an identity is left in its bytes.
        DependencyError: dicom-anonymizer is not installed.
    """
    where = str(path)
    dataset, notes = open_dicom(path)
    with guarded(where, "cannot be de-identified", notes):
        if not dataset.get("SOPInstanceUID") or not dataset.get("SOPClassUID"):
            raise ImageError("has no SOP class or instance UID, so it is no object that can be filed", where=where)
        syntax = transfer_syntax(dataset)
        words = _identity_words(dataset)
        old = str(dataset.get("PatientID") or dataset.get("PatientName") or dataset.get("StudyInstanceUID") or "")
        _drop_unknown(dataset)
        _replace_uids(dataset, secret)
        _apply_profile(dataset, keep_dates=dates == "shift")
        blanked = _clean(dataset, words, _shift(secret, old) if dates == "shift" else None, where)
        patient = new_patient(secret, old)
        _describe(dataset, patient, dates)
        burned = [note for note in (_burned_in(dataset), _looks_written(dataset, path)) if note]
        data = _written(dataset, syntax)
        uids = [str(dataset.get(key) or "none") for key in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        if not all(re.fullmatch(r"none|[0-9.]+", uid) for uid in uids):  # they become a path
            raise ImageError("study, series or instance UID is no UID", where=where)
    if blanked:
        notes.append(f"{blanked} elements repeated an identity and were emptied")
    notes += burned
    return Deidentified(data, f"{'/'.join(uids)}.dcm", patient, old, tuple(notes))


def new_uid(secret: bytes, old: str) -> str:
    """A UID of the root for UUIDs (PS3.5 B.2) that only who has the secret can compute from the old one."""
    digest = hmac.new(secret, b"uid " + old.encode(), hashlib.sha256).digest()
    return f"2.25.{int.from_bytes(digest[:15])}"


def new_patient(secret: bytes, old: str) -> str:
    """A patient identifier that only who has the secret can compute from the old one."""
    return "P" + hmac.new(secret, b"patient " + old.encode(), hashlib.sha256).hexdigest()[:15].upper()


def _shift(secret: bytes, patient: str) -> timedelta:
    digest = hmac.new(secret, b"days " + patient.encode(), hashlib.sha256).digest()
    return timedelta(days=-1 - int.from_bytes(digest[:8]) % _LONGEST_SHIFT_DAYS)


@cache
def _rules() -> dict[Any, Callable[..., None]]:
    """The table of PS3.15 E.1-1 in dicom-anonymizer, without its random UIDs: ours are there already."""
    library: Any = require("dicomanonymizer.simpledicomanonymizer", extra="clinic")
    rules = dict(library.initialize_actions_2024b())
    return {tag: library.keep if action is library.replace_UID else action for tag, action in rules.items()}


def _drop_unknown(dataset: Dataset) -> None:
    """Take out public elements that the standard does not know: the profile has no rule for them (PS3.15 E.1.1)."""
    for element in list(dataset):
        if not (element.tag.is_private or dictionary_has_tag(element.tag) or repeater_has_tag(element.tag)):
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                _drop_unknown(item)


def _apply_profile(dataset: Dataset, *, keep_dates: bool) -> None:
    library: Any = require("dicomanonymizer.simpledicomanonymizer", extra="clinic")
    rules = {
        tag: _careful(action, library, keep_dates)
        for tag, action in _rules().items()
        if len(tag) > 2 or tag in dataset  # most of the 600 elements are in no file
    }
    library.anonymize_dataset(dataset, delete_private_tags=True, base_rules_gen=lambda: rules)
    for element in list(dataset):
        if element.VR == "SQ":
            for item in element.value:
                _apply_profile(item, keep_dates=keep_dates)


def _careful(action: Callable[..., None], library: Any, keep_dates: bool) -> Callable[..., None]:
    """A rule that leaves to us UIDs, references and days to be shifted, and deletes what has no dummy."""
    refers = action is library.delete_or_empty_or_replace_UID
    empties = action in (library.empty, library.delete_or_empty)

    def apply(dataset: Dataset, tag: Any) -> None:
        element = dataset.get(tag)
        if element is None or element.VR == "UI":
            return
        if refers and element.VR == "SQ":  # its items have new UIDs, and the profile is applied to each of them
            return
        if empties and element.VR == "SQ":  # without items, where the library would leave items of nothing
            element.value = Sequence()
            return
        if keep_dates and element.VR in ("DA", "DT") and element.tag.group not in _PATIENT_GROUPS:
            return
        try:
            action(dataset, tag)
        except NotImplementedError:
            library.delete(dataset, tag)

    return apply


def _walk(dataset: Dataset) -> Iterator[DataElement]:
    """Every element at every level; each is decoded by this, so that damage is found before anything is written."""
    for element in list(dataset):
        yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from _walk(item)


def _values(element: DataElement) -> list[str]:
    if element.value is None:
        return []
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    return [v.decode("latin-1") if isinstance(v, bytes) else str(v) for v in values]


def _identity_words(dataset: Dataset) -> set[str]:
    """Parts of names, and whole identifiers, of the old header, in capitals."""
    words: set[str] = set()
    for element in _walk(dataset):
        if element.VR == "PN":
            words |= {part for value in _values(element) for part in _SEPARATORS.split(value.upper())}
        elif element.keyword in _IDENTIFIERS:
            words |= {value.strip().upper() for value in _values(element)}
    return {word for word in words if len(word) >= _SHORTEST_WORD} - _NO_IDENTITY


def _replace_uids(dataset: Dataset, secret: bytes) -> None:
    for element in _walk(dataset):
        if element.VR == "UI" and element.value and not element.keyword.endswith(("ClassUID", "SyntaxUID")):
            many = isinstance(element.value, MultiValue)
            old = list(map(str, element.value)) if many else [str(element.value)]
            new = [uid if uid in UID_dictionary else new_uid(secret, uid) for uid in old]
            element.value = new if many else new[0]


def _clean(dataset: Dataset, words: set[str], shift: timedelta | None, where: str) -> int:
    """Empty or shift dates, empty names and every text that repeats an identity.

    Returns:
        How many texts repeated one.

    Raises:
        ImageError: one stands in pixels or other bytes, where it cannot be taken out.
    """
    blanked = 0
    for element in _walk(dataset):
        if element.VR in _DATES:
            moved = [] if shift is None or element.VR == "TM" else [_moved(text, shift) for text in _values(element)]
            element.value = moved if len(moved) > 1 else "".join(moved)
        elif element.VR == "PN":
            element.value = ""
        elif element.VR in _TEXTS and any(word in text.upper() for text in _values(element) for word in words):
            element.value = b"" if element.VR == "UN" else ""
            blanked += 1
        elif isinstance(element.value, bytes):
            data = element.value.upper()
            if any(word.encode() in data for word in words if len(word) >= _SHORTEST_IN_BYTES):
                raise ImageError("an identity of the header stands in the pixels or other bytes as well", where=where)
    return blanked


def _moved(value: str, shift: timedelta) -> str:
    try:
        return (datetime.strptime(value[:8], "%Y%m%d") + shift).strftime("%Y%m%d")
    except (ValueError, OverflowError):
        return ""


def _describe(dataset: Dataset, patient: str, dates: Dates) -> None:
    """Say that identity was removed, and how (PS3.15 E.1.1 step 6)."""
    dataset.PatientName = patient
    dataset.PatientID = patient
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "Resight, dicom-anonymizer, PS3.15 2024b; pixels unchanged"
    done = (_BASIC, _MODIFIED_DATES) if dates == "shift" else (_BASIC,)
    dataset.DeidentificationMethodCodeSequence = Sequence(_coded(*pair) for pair in done)
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if dates == "shift" else "REMOVED"


def _coded(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _burned_in(dataset: Dataset) -> str:
    """Whether somebody should look at the pixels for text."""
    stated, modality = code(dataset, "BurnedInAnnotation"), code(dataset, "Modality")
    if "PixelData" not in dataset or stated == "NO":
        return ""
    if stated == "YES":
        return "text is burned into the pixels, says the header: it was not removed"
    return f"text may be burned into the pixels of {modality}: look at them" if modality in _BURNED_IN else ""


def _looks_written(dataset: Dataset, path: Path) -> str:
    """Whether rows of letters are to be seen on the first, middle or last frame, whatever the header states."""
    if "PixelData" not in dataset:
        return ""
    try:
        pixels = read_dicom(path, VOI()).pixels
    except ImageError:
        return "the pixels cannot be decoded here, so that nobody looked for text in them"
    depth = 1 if pixels.ndim == 3 else pixels.shape[1]
    planes = [pixels if pixels.ndim == 3 else pixels[:, place] for place in sorted({0, depth // 2, depth - 1})]
    most = max(len(text_rows(plane)) for plane in planes)
    return f"the pixels show {most} rows of what looks like text: look at them, it was not removed" if most else ""


def _written(dataset: Dataset, syntax: UID) -> bytes:
    """The file: no preamble, and only the meta information that a reader needs."""
    old = getattr(dataset, "file_meta", FileMetaDataset())
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax if syntax in UID_dictionary else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = old.get("MediaStorageSOPClassUID") or dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta, dataset.preamble = meta, b"\0" * 128
    if _TRAILING_PADDING in dataset:  # it may hold anything
        del dataset[_TRAILING_PADDING]
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()
