"""Label columns of every make -> one column of 1, 0 or NaN (masked) per label.

Uncertain labels follow CheXpert (Irvin et al. 2019, section 3.1: U-Ignore, U-Zeros, U-Ones) and label smoothing over
[0.55, 0.85] (Pham et al. 2021, section 3.3); the smoothed number depends on image and label only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from resight.cohorts.columns import ALIASES, as_text
from resight.cohorts.label_map import LabelMap
from resight.cohorts.options import CohortOptions
from resight.errors import CohortError, nearest
from resight.tables import column_key, require_columns
from resight.types import RESERVED_COLUMNS, Task

SMOOTH_RANGE = (0.55, 0.85)
_CLASS_COLUMNS = ("label", "class", "class_name", "diagnosis", "dx", "target", "category", "finding", "labels")
_LIST_COLUMNS = ("finding_labels", "findings", "labels", "finding", "label", "diagnosis")
_WORDS = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "y", "positive", "present"), 1.0),
    **dict.fromkeys(("0", "0.0", "false", "no", "n", "negative", "absent"), 0.0),
    **dict.fromkeys(("-1", "-1.0", "u", "uncertain"), -1.0),
}
_ANSWERS = {word for word in _WORDS if word.strip("-.01") == ""} | {"u", "true", "false", "yes", "no", "y", "n"}
"""Words that answer a question and so cannot be names of classes; the label is then called as its column."""
_BLANKS = {"", "nan", "n/a", "unknown"}
_NEGATIVE_KEYS = {
    *("normal", "negative", "healthy", "control", "controls", "benign", "none", "absent", "no", "0"),
    *("nofinding", "nofindings", "notumor", "notumour", "nodisease"),
}
"""Class names, by `column_key`, that mean nothing was found."""


@dataclass(frozen=True)
class Labelled:
    """The labels of a table.

    Attributes:
        values: one column per label; 1, 0, a smoothed number or NaN.
        task: kind of classification.
        consumed: columns of the table that the labels were made of.
        notes: what was found and done.
    """

    values: pd.DataFrame
    task: Task
    consumed: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_labels(table: pd.DataFrame, options: CohortOptions, where: str) -> Labelled:
    """Find the labels of a table and bring them to one form.

    Where neither `labels` nor `label_column` is given, the first of these is taken and noted: a column of class names
    with a usual name, all columns that hold only 0, 1, -1 and blanks, a column of findings joined by `|`, all columns
    that hold only words such as yes and no.

    Args:
        table: with canonical columns; `image` seeds the smoothing.
        options: what the user said of the labels.
        where: the file, for messages.

    Raises:
        CohortError: no labels, an unknown column or class, a value that is no label, or one class only.
    """
    mapping = LabelMap.read(options.label_map) if options.label_map else None
    column, named, notes = _choose(table, options, mapping, where)
    if column is None:
        found = _from_columns(table, named, options, where)
    else:
        text = as_text(table[column])
        text = text.mask(text.str.casefold().isin(_BLANKS), "")
        if text.str.contains("|", regex=False).any():
            found = _from_lists(text, options, mapping, f"{where}, column {column!r}")
        elif set(text.str.casefold().unique()) - {""} <= _ANSWERS and options.positive is None:
            found = _from_columns(table, {column: column}, options, where)
        else:
            found = _from_classes(text, options, mapping, f"{where}, column {column!r}")
        found = replace(found, consumed=(column,))
    _check(found, options, where)
    return replace(found, notes=(*notes, *found.notes))


def _choose(
    table: pd.DataFrame, options: CohortOptions, mapping: LabelMap | None, where: str
) -> tuple[str | None, dict[str, str], list[str]]:
    """The class or list column, or the 0/1 columns with their labels; and how they were chosen."""
    columns = [str(c) for c in table.columns]
    if options.label_column:
        require_columns(table, options.label_column, error=CohortError, where=where)
        return options.label_column, {}, []
    label_of = {c: (mapping.resolve(c) or c) if mapping else c for c in columns}
    if options.labels and set(options.labels) & set(label_of.values()):
        return None, {c: label for label in options.labels for c in _columns_of(label, label_of, where)}, []
    free = [c for c in columns if c not in RESERVED_COLUMNS and c not in ALIASES]
    by_key = {column_key(c): c for c in reversed(free)}
    for usual, lists in ((_CLASS_COLUMNS, False), (_LIST_COLUMNS, True)):
        candidates = [c for c in free if mapping is None or mapping.resolve(c)] if lists and not options.labels else []
        if binary := {c: label_of[c] for c in candidates if _is_zero_one(table[c])}:
            return None, binary, [f"Labels are the columns of 0 and 1: {', '.join(binary)}."]
        for name in usual:
            column = by_key.get(column_key(name))
            if column and as_text(table[column]).str.contains("|", regex=False).any() == lists:
                return column, {}, [f"Labels come from the column {column!r}."]
    if options.labels:
        _columns_of(options.labels[0], label_of, where)
    if said := {c: label_of[c] for c in free if _means_both(table[c])}:
        return None, said, [f"Labels are the columns of yes and no: {', '.join(said)}."]
    raise CohortError(
        "no labels were recognised",
        where=where,
        expected="columns of 0 and 1, or a column of classes, each with both answers",
        fix=f"Name columns with labels, or one with label_column. Columns: {', '.join(free) or 'none besides'}.",
    )


def _columns_of(label: str, label_of: dict[str, str], where: str) -> list[str]:
    columns = [c for c, name in label_of.items() if name == label]
    if not columns:
        raise CohortError(f"no label column {label!r}", where=where, fix=nearest(label, label_of.values()))
    return columns


def _is_zero_one(values: pd.Series[str]) -> bool:
    words = set(as_text(values.drop_duplicates()).str.casefold()) - _BLANKS
    return words <= {"0", "1", "-1", "0.0", "1.0", "-1.0", "u"} and {w[0] for w in words} >= {"0", "1"}


def _means_both(values: pd.Series[str]) -> bool:
    """Whether a column holds nothing but words for positive, negative and uncertain, and both of the first two."""
    words = set(as_text(values.drop_duplicates()).str.casefold()) - _BLANKS
    return words <= set(_WORDS) and {_WORDS[word] for word in words} >= {0.0, 1.0}


def _from_columns(table: pd.DataFrame, named: dict[str, str], options: CohortOptions, where: str) -> Labelled:
    values: dict[str, pd.Series[float]] = {}
    for name, label in named.items():
        one = _zero_one(table[name], table["image"], label, options, f"{where}, column {name!r}")
        values[label] = values[label].combine(one, np.fmax) if label in values else one
    frame = pd.DataFrame(values, index=table.index)
    exclusive = frame.shape[1] > 1 and options.task == "multiclass"
    if exclusive and not (frame.sum(axis=1)[frame.notna().all(axis=1)] == 1).all():
        raise CohortError("a multiclass row needs exactly one 1", where=where, fix="Use task = 'multilabel'.")
    task: Task = "binary" if frame.shape[1] == 1 else "multiclass" if exclusive else "multilabel"
    return Labelled(frame, task, tuple(named))


def _zero_one(
    column: pd.Series[str], images: pd.Series[str], label: str, options: CohortOptions, where: str
) -> pd.Series[float]:
    words = as_text(column).str.casefold()
    blank = words.isin(_BLANKS)
    values = words.map(_WORDS)
    wrong = values.isna() & ~blank
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise CohortError(
            f"{words.iloc[row]!r} in data row {row + 1} is not a label ({int(wrong.sum())} such rows)",
            where=where,
            expected="1, 0, -1 (uncertain) or blank",
            fix="If the column holds class names, give it as label_column.",
        )
    uncertain = values == -1
    if options.uncertain == "smooth":
        values[uncertain] = np.array([_smoothed(image, label) for image in images[uncertain]])
    else:
        values[uncertain] = {"ignore": np.nan, "zeros": 0.0, "ones": 1.0}[options.uncertain]
    return values.mask(blank, 0.0) if options.blank == "negative" else values


def _smoothed(image: str, label: str) -> float:
    digest = hashlib.blake2b(f"{image}\0{label}".encode(), digest_size=8).digest()
    low, high = SMOOTH_RANGE
    return low + (high - low) * int.from_bytes(digest) / 2**64


def _from_lists(text: pd.Series[str], options: CohortOptions, mapping: LabelMap | None, where: str) -> Labelled:
    """`A|B` -> one column per finding; `No Finding` alone is all negative, a blank is not known."""
    codes, distinct = pd.factorize(text)
    parts = [[part.strip() for part in value.split("|") if part.strip()] for value in distinct]
    if mapping:
        parts = [[_mapped(part, mapping, where) for part in row] for row in parts]
    found = sorted({part for row in parts for part in row})
    labels = options.labels or tuple(name for name in found if column_key(name) not in _NEGATIVE_KEYS)
    _known(labels, found, mapping, where)
    indicator = np.array([[float(label in row) if row else np.nan for label in labels] for row in parts])
    if options.blank == "negative":
        indicator = np.nan_to_num(indicator)
    frame = pd.DataFrame(indicator[codes], columns=list(labels), index=text.index)
    return Labelled(frame, "binary" if len(labels) == 1 else "multilabel", ())


def _from_classes(text: pd.Series[str], options: CohortOptions, mapping: LabelMap | None, where: str) -> Labelled:
    distinct = pd.unique(text)
    if mapping:
        text = text.map({name: _mapped(name, mapping, where) if name else "" for name in distinct})
    classes = sorted(set(text) - {""}, key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    if len(classes) < 2:
        raise CohortError(
            f"one class only: {', '.join(classes) or 'no label at all'}", where=where, expected="two or more"
        )
    blank = text == ""
    notes = (f"{int(blank.sum())} images have no label and are masked.",) if blank.any() else ()
    one_of_two = options.labels is not None and len(options.labels) == 1
    if options.positive or one_of_two or (len(classes) == 2 and options.task != "multiclass"):
        positive, how = _positive(classes, options)
        _known((positive,), classes, mapping, where)
        others = ", ".join(name for name in classes if name != positive)
        frame = pd.DataFrame({positive: (text == positive).astype(float).mask(blank)})
        return Labelled(frame, "binary", (), (*notes, f"Positive is {positive!r}{how}; negative: {others}."))
    labels = options.labels or tuple(classes)
    _known(labels, classes, mapping, where)
    if left_out := sorted(set(classes) - set(labels)):
        count = int(text.isin(left_out).sum())
        raise CohortError(
            f"{count} rows have the class {left_out[0]!r}, which is not among the labels",
            where=where,
            fix="Name it in labels, or map it with label_map.",
        )
    frame = pd.DataFrame({label: (text == label).astype(float).mask(blank) for label in labels})
    return Labelled(frame, "multiclass", (), notes)


def _positive(classes: Sequence[str], options: CohortOptions) -> tuple[str, str]:
    given = options.positive or (options.labels[0] if options.labels and len(options.labels) == 1 else None)
    if given:
        return given, ""
    findings = [name for name in classes if column_key(name) not in _NEGATIVE_KEYS]
    if len(findings) == 1:
        return findings[0], ""
    return classes[-1], " because it is last in the alphabet (set positive to change it)"


def _mapped(name: str, mapping: LabelMap, where: str) -> str:
    if mapping.resolve(name) is None and column_key(name) in _NEGATIVE_KEYS:
        return name
    return mapping.require(name, where=where)


def _known(labels: Sequence[str], found: Sequence[str], mapping: LabelMap | None, where: str) -> None:
    """A label nobody has is a spelling mistake, unless the label map lists it."""
    known = {*found, *(mapping.labels if mapping else ())}
    for label in labels:
        if label not in known:
            raise CohortError(f"no image has the label {label!r}", where=where, fix=nearest(label, known))


def _check(found: Labelled, options: CohortOptions, where: str) -> None:
    if clash := set(found.values.columns) & {*RESERVED_COLUMNS, *ALIASES}:
        raise CohortError(f"a label cannot be called {min(clash)!r}", where=where, fix="Rename it with label_map.")
    if options.task and options.task != found.task:
        raise CohortError(f"the labels are {found.task}", where=where, expected=options.task)
    present = found.values.max() > 0
    if not (present & (found.values.min() < 1)).any():
        only = "positive" if present.any() else "negative"
        raise CohortError(f"one class only: every known label is {only}", where=where, expected="both classes")
