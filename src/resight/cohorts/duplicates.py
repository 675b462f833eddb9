"""Exact and near duplicates among images, without comparing every image with every other.

A 128-bit perceptual hash (64 bits of horizontal gradients, dHash; 64 bits of low DCT frequencies, pHash; Zauner 2010)
proposes pairs through locality-sensitive bands; the correlation of two 32 x 32 thumbnails decides, once the average
image of the cohort is taken away: radiographs of two people look alike until their common anatomy is subtracted.
Mirrored and rotated copies are not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Float, Int, UInt8, UInt64
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from resight.errors import ImageError
from resight.imaging import describe, read

SIDE_PX = 32
"""Side of a thumbnail."""
_AT_LEAST_PX = 256
"""JPEG may be decoded at reduced scale down to this; enough to tell pixels apart."""
_BAND_BITS = np.uint16
"""Two hashes are compared when 16 neighbouring bits of some band agree: 8 bands always catch 7 differing bits."""
_WINDOW = 1000
"""Longest run within one band that is compared in full; keeps a cohort of look-alikes linear."""
_AVERAGE_FROM = 100
"""Fewer images than this have no meaningful average to take away."""
_CHUNK = 8192


@dataclass(frozen=True)
class Fingerprints:
    """What the duplicate search needs of N images.

    Attributes:
        files: SHA-256 of each file; empty where it could not be read.
        pixels: SHA-256 of the decoded pixels; JPEG at reduced scale.
        thumbnails: grey thumbnails.
        facts: header facts, one row per image.
        errors: row -> why the image could not be decoded.
    """

    files: tuple[str, ...]
    pixels: tuple[str, ...]
    thumbnails: UInt8[np.ndarray, "N 32 32"]
    facts: pd.DataFrame
    errors: dict[int, str]


def fingerprint(
    paths: Sequence[Path], *, workers: int = 2, progress: Callable[[int, int], None] | None = None
) -> Fingerprints:
    """Hash, describe and shrink every image; one that cannot be read becomes an error, not an exception.

    Args:
        paths: files or DICOM series folders.
        workers: threads.
        progress: called with the number done and the total.
    """
    done = []
    with ThreadPoolExecutor(workers) as pool:
        for one in pool.map(_fingerprint_one, paths):
            done.append(one)
            if progress:
                progress(len(done), len(paths))
    return Fingerprints(
        files=tuple(one.file for one in done),
        pixels=tuple(one.pixels for one in done),
        thumbnails=np.stack([one.thumbnail for one in done]),
        facts=pd.DataFrame([one.facts for one in done]),
        errors={row: one.error for row, one in enumerate(done) if one.error},
    )


def near_pairs(
    thumbnails: UInt8[np.ndarray, "N 32 32"], *, bits: int = 12, same: float = 0.98, residual: float = 0.9
) -> Int[np.ndarray, "P 2"]:
    """Pairs of images that show nearly the same.

    On ChestX-ray14 and paediatric chest radiographs the defaults join no two patients.

    Args:
        thumbnails: grey thumbnails.
        bits: hashes may differ in so many of 128 bits; pairs up to 7 are all proposed, up to 12 nearly all.
        same: correlation of two thumbnails from which they count as the same, in a cohort below 100 images.
        residual: the same after the cohort's average thumbnail was taken away, in a cohort of 100 and more.

    Returns:
        Rows of each pair, the smaller one first.
    """
    candidates = _candidates(_hashes(thumbnails), bits)
    flat = thumbnails.reshape(len(thumbnails), -1)
    average = _average(flat) if len(flat) >= _AVERAGE_FROM else None
    least = same if average is None else residual
    unit = np.empty(flat.shape, dtype=np.float16)  # a correlation is then off by less than 0.001
    for rows in _chunks(len(flat)):
        unit[rows] = (
            _standardised(flat[rows]) if average is None else _standardised(_standardised(flat[rows]) - average)
        )
    kept = [np.empty((0, 2), dtype=np.int64)]
    for rows in _chunks(len(candidates)):
        left, right = (unit[end].astype(np.float32) for end in candidates[rows].T)
        kept.append(candidates[rows][np.einsum("pk,pk->p", left, right) >= least])
    return np.concatenate(kept)


def clusters_of(count: int, pairs: Int[np.ndarray, "P 2"], keys: Sequence[Sequence[str]]) -> Int[np.ndarray, " N"]:
    """Number of the cluster of each image: joined by a pair, or by an equal non-empty key, also through others.

    Args:
        count: how many images.
        pairs: near duplicates.
        keys: hashes of each image, for example of files and of pixels.
    """
    edges = [pairs]
    for key in keys:
        codes = pd.Series(key, dtype=object)
        first = codes.groupby(codes).transform(lambda rows: rows.index[0])[codes != ""]
        edges.append(np.column_stack([first.to_numpy(dtype=np.int64), first.index.to_numpy()]))
    ends = np.concatenate(edges)
    graph = coo_matrix((np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1]


@dataclass(frozen=True)
class _One:
    file: str
    pixels: str
    thumbnail: UInt8[np.ndarray, "32 32"]
    facts: dict[str, str | float | int]
    error: str


def _fingerprint_one(path: Path) -> _One:
    blank = np.zeros((SIDE_PX, SIDE_PX), dtype=np.uint8)
    facts: dict[str, str | float | int] = {}
    file = ""
    try:
        file = _hash_file(path)
        facts = describe(path)
        image = read(path, at_least_px=_AT_LEAST_PX)
    except (ImageError, OSError) as error:
        return _One(file, "", blank, facts, str(error))
    pixels = np.ascontiguousarray(image.pixels)
    digest = hashlib.sha256(f"{pixels.shape}{pixels.dtype}".encode() + pixels.tobytes()).hexdigest()
    plane = image.as_float().mean(axis=0)
    if plane.ndim == 3:  # a volume: its projection along the body
        plane = plane.mean(axis=0)
    small = cv2.resize(np.ascontiguousarray(plane), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return _One(file, digest, np.rint(small * 255).astype(np.uint8), facts, "")


def _hash_file(path: Path) -> str:
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    parts = sorted(_hash_file(part) for part in path.iterdir() if part.is_file())
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def _hashes(thumbnails: UInt8[np.ndarray, "N 32 32"]) -> UInt8[np.ndarray, "N 128"]:
    bits = np.empty((len(thumbnails), 128), dtype=np.uint8)
    for row, thumbnail in enumerate(thumbnails):
        gradient = cv2.resize(thumbnail, (9, 8), interpolation=cv2.INTER_AREA)
        bits[row, :64] = (gradient[:, 1:] > gradient[:, :-1]).ravel()
        low = cv2.dct(thumbnail.astype(np.float32))[:8, :8].ravel()
        bits[row, 64:] = low > np.median(low[1:])
    return bits


def _candidates(bits: UInt8[np.ndarray, "N 128"], most: int) -> Int[np.ndarray, "P 2"]:
    """Pairs whose hashes agree on a band and differ in at most so many bits; two layouts of bands catch more."""
    words = np.packbits(bits, axis=1).view(np.uint64)
    shuffled = np.packbits(np.ascontiguousarray(bits[:, np.random.default_rng(0).permutation(128)]), axis=1)
    bands = np.concatenate([words.view(_BAND_BITS), shuffled.view(_BAND_BITS)], axis=1)
    found = [np.empty(0, dtype=np.int64)]
    for band in bands.T:
        order = np.lexsort((words[:, 0], words[:, 1], band))
        found.append(_pairs_in_runs(order, band[order], words, most))
    code = np.unique(np.concatenate(found))
    return np.column_stack([code // len(bits), code % len(bits)])


def _pairs_in_runs(
    order: Int[np.ndarray, " N"], band: np.ndarray, words: UInt64[np.ndarray, "N 2"], most: int
) -> Int[np.ndarray, " P"]:
    """Compare each image with the next, the next but one, ... as long as their bands agree."""
    found = []
    start = np.arange(len(order) - 1)
    for step in range(1, min(_WINDOW, len(order))):
        start = start[start + step < len(order)]
        start = start[band[start] == band[start + step]]
        if not len(start):
            break
        left, right = order[start], order[start + step]
        close = np.bitwise_count(words[left] ^ words[right]).sum(axis=1) <= most
        low, high = np.minimum(left[close], right[close]), np.maximum(left[close], right[close])
        found.append(low * len(order) + high)
    return np.concatenate(found) if found else np.empty(0, dtype=np.int64)


def _average(flat: UInt8[np.ndarray, "N K"]) -> Float[np.ndarray, " K"]:
    total = np.zeros(flat.shape[1], dtype=np.float64)
    for rows in _chunks(len(flat)):
        total += _standardised(flat[rows]).sum(axis=0, dtype=np.float64)
    return (total / len(flat)).astype(np.float32)


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + _CHUNK) for start in range(0, count, _CHUNK)]


def _standardised(rows: np.ndarray) -> Float[np.ndarray, "N K"]:
    """Rows with mean 0 and length 1; a constant row becomes zeros and is like nothing."""
    centred = rows.astype(np.float32) - rows.mean(axis=1, keepdims=True, dtype=np.float32)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.divide(centred, length, out=np.zeros_like(centred), where=length > 1e-6)
