from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from resight.cohorts.duplicates import SIDE_PX, clusters_of, fingerprint, near_pairs


def smooth_images(rng: np.random.Generator, count: int, side: int = SIDE_PX) -> np.ndarray:
    coarse = rng.integers(0, 255, (count, 6, 6), dtype=np.uint8)
    return np.stack([cv2.resize(one, (side, side), interpolation=cv2.INTER_CUBIC) for one in coarse])


def test_changed_copies_are_found_and_strangers_are_not(rng):
    images = smooth_images(rng, 400)
    copies = np.clip(images[:50] * 0.9 + 10 + rng.normal(0, 3, images[:50].shape), 0, 255).astype(np.uint8)
    pairs = near_pairs(np.concatenate([images, copies]))
    assert {tuple(pair) for pair in pairs.tolist()} == {(row, 400 + row) for row in range(50)}


def test_shared_anatomy_alone_makes_nobody_a_duplicate(rng):
    anatomy = smooth_images(rng, 1)[0].astype(float)
    people = np.clip(anatomy + smooth_images(rng, 300) * 0.25 - 30, 0, 255).astype(np.uint8)
    assert len(near_pairs(people)) == 0
    again = np.clip(people[7] + rng.normal(0, 1, people[7].shape), 0, 255).astype(np.uint8)
    assert near_pairs(np.concatenate([people, again[None]])).tolist() == [[7, 300]]


def test_few_or_no_images(rng):
    assert near_pairs(np.zeros((1, SIDE_PX, SIDE_PX), np.uint8)).tolist() == []
    one = smooth_images(rng, 1)
    assert near_pairs(np.concatenate([one, one])).tolist() == [[0, 1]]


def test_blank_images_are_not_alike():
    assert near_pairs(np.zeros((5, SIDE_PX, SIDE_PX), np.uint8)).tolist() == []


def test_clusters_join_pairs_and_equal_hashes():
    cluster = clusters_of(6, np.array([[0, 1], [1, 2]]), [("a", "b", "c", "d", "d", ""), ("", "", "", "", "e", "e")])
    assert len(set(cluster[:3])) == 1
    assert len(set(cluster[3:])) == 1
    assert cluster[0] != cluster[3]
    assert len(set(clusters_of(3, np.empty((0, 2), int), [("", "", "")]))) == 3


def test_fingerprints_tell_files_from_pixels_and_survive_broken_files(tmp_path, rng):
    image = smooth_images(rng, 1, side=300)[0]
    cv2.imwrite(str(tmp_path / "a.png"), image)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    cv2.imwrite(str(tmp_path / "c.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    (tmp_path / "d.png").write_bytes(b"not an image")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png", "gone.png")]
    seen: list[tuple[int, int]] = []
    found = fingerprint(paths, progress=lambda done, total: seen.append((done, total)))
    assert found.files[0] == found.files[1] != found.files[2]
    assert found.pixels[0] == found.pixels[1] == found.pixels[2] != ""
    assert sorted(found.errors) == [3, 4]
    assert "d.png" in found.errors[3]
    assert found.facts["width"].tolist()[:3] == [300, 300, 300]
    assert seen == [(done, 5) for done in range(1, 6)]


def test_volumes_and_series_have_fingerprints(real_data):
    volume = real_data("vol3d") / "nibabel_anatomical.nii"
    found = fingerprint([volume, volume])
    assert found.errors == {}
    assert found.pixels[0] == found.pixels[1]
    assert found.thumbnails[0].std() > 0


@pytest.mark.slow
def test_look_alikes_are_compared_in_bounded_memory(real_data, rng):
    import resource

    folder = real_data("cxr_nih14_1000") / "images"
    chests = [cv2.resize(cv2.imread(str(path), 0), (32, 32)) for path in sorted(Path(folder).iterdir())]
    base = np.stack(chests)
    images = np.empty((30_000, 32, 32), np.uint8)
    for start in range(0, len(images), 5000):
        first, second = rng.integers(0, len(base), (2, 5000))
        share = rng.random((5000, 1, 1)).astype(np.float32)
        images[start : start + 5000] = base[first] * share + base[second] * (1 - share)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    near_pairs(images)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KiB; all pairs would be 3.6 GB
