"""Parts, restarts and the table they are joined into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from resight.bulk import BulkReport, ImageList, Job, PartPredictor, Work, predict_in_parts
from resight.errors import ImageError, OutputError, SettingsError
from resight.models import Predictor

MakeBundle = Callable[[str, int], Path]


@pytest.fixture
def work(bundle_folder: Path) -> Work:
    return Work(str(bundle_folder), batch=2, part_images=4)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the parts that were computed, in order."""
    numbers: list[int] = []
    original = PartPredictor.__call__

    def counted(self: PartPredictor, images: ImageList, number: int) -> Any:
        numbers.append(number)
        return original(self, images, number)

    monkeypatch.setattr(PartPredictor, "__call__", counted)
    return numbers


def run(work: Work, source: Path, folder: Path, **options: Any) -> BulkReport:
    return predict_in_parts([str(source)], work, folder / f"table{work.suffix}", folder / "parts", **options)


def test_the_table_is_the_one_that_predict_writes(work: Work, pictures: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.csv"
    Predictor.load(work.bundle).predict(str(pictures), batch=2).write(expected)
    report = run(work, pictures, tmp_path)
    assert (tmp_path / "table.csv").read_bytes() == expected.read_bytes()
    assert (report.images, report.failed, report.parts, report.parts_found) == (11, 1, 3, 0)
    assert report.images_per_s > 0
    assert all(report.stage_images_per_s[stage] > 0 for stage in ("prepare", "network", "write"))
    assert np.isnan(report.stage_images_per_s["fetch"])
    assert json.loads((tmp_path / "parts" / "report.json").read_text())["images"] == 11


def test_parquet_parts_make_the_same_table(work: Work, pictures: Path, tmp_path: Path) -> None:
    run(replace(work, suffix=".parquet"), pictures, tmp_path)
    table = pd.read_parquet(tmp_path / "table.parquet")
    pd.testing.assert_frame_equal(table, Predictor.load(work.bundle).predict(str(pictures), batch=2).table)


def test_an_interrupted_run_goes_on_without_computing_again(
    work: Work, pictures: Path, tmp_path: Path, computed: list[int]
) -> None:
    run(work, pictures, tmp_path / "whole")
    assert computed == [1, 2, 3]
    computed.clear()

    def stop(stage: str, done: int, total: int, detail: str) -> None:
        if done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(work, pictures, tmp_path, progress=stop)
    assert not (tmp_path / "table.csv").exists()
    (pictures / "new.png").write_bytes((pictures / "0.png").read_bytes())  # the list was made when the job began
    report = run(work, pictures, tmp_path)
    assert computed == [1, 2, 3]
    assert report.parts_found == 2
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "whole" / "table.csv").read_bytes()
    computed.clear()
    assert np.isnan(run(work, pictures, tmp_path).images_per_s)
    assert computed == []


@pytest.mark.parametrize("damage", ["part cut off", "part missing", "line cut off"])
def test_what_was_damaged_is_computed_again(
    work: Work, pictures: Path, tmp_path: Path, computed: list[int], damage: str
) -> None:
    run(work, pictures, tmp_path)
    expected = (tmp_path / "table.csv").read_bytes()
    part, lines = tmp_path / "parts" / "part-00003.csv", tmp_path / "parts" / "finished.jsonl"
    if damage == "part cut off":
        part.write_bytes(part.read_bytes()[:-30])
    elif damage == "part missing":
        part.unlink()
    else:
        lines.write_bytes(lines.read_bytes()[:-30])
    computed.clear()
    for again in ([3], []):
        report = run(work, pictures, tmp_path)
        assert computed == again
        assert (tmp_path / "table.csv").read_bytes() == expected
        assert any(str(part) in note for note in report.notes) == (damage != "line cut off" and bool(again))
        computed.clear()


def test_a_part_that_is_cut_off_later_stops_the_joining(work: Work, pictures: Path, tmp_path: Path) -> None:
    run(work, pictures, tmp_path)
    job = Job(tmp_path / "parts")
    records = list(job.finished(".csv")[0].values())
    part = tmp_path / "parts" / "part-00002.csv"
    part.write_bytes(part.read_bytes()[:-1])
    before = (tmp_path / "table.csv").read_bytes()
    with pytest.raises(OutputError, match=r"part-00002.csv: was cut off or changed\. Give the same command again"):
        job.assemble(records, ".csv", tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_bytes() == before


def test_parts_of_another_job_are_refused(
    work: Work, pictures: Path, tmp_path: Path, make_bundle: MakeBundle, computed: list[int]
) -> None:
    run(work, pictures, tmp_path)
    other = replace(work, bundle=str(make_bundle("other", 1)))
    with pytest.raises(OutputError, match=r"parts: holds parts of another job: bundle .*, not "):
        run(other, pictures, tmp_path)
    with pytest.raises(OutputError, match=r"another job: batch = 2\. Choose another folder"):
        run(replace(work, batch=4), pictures, tmp_path)
    with pytest.raises(OutputError, match="another job: images = "):
        run(work, pictures / "deeper", tmp_path)
    computed.clear()
    run(other, pictures, tmp_path, force=True)
    assert computed == [1, 2, 3]
    run(other, pictures, tmp_path, force=True)  # the same job: nothing is thrown away
    assert computed == [1, 2, 3]


def test_a_folder_with_something_else_is_refused(work: Work, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="parts: holds something else than parts"):
        run(work, pictures, tmp_path, force=True)
    assert [path.name for path in (tmp_path / "parts").iterdir()] == ["mine.txt"]


def test_two_runs_do_not_share_a_folder(work: Work, pictures: Path, tmp_path: Path) -> None:
    with Job(tmp_path / "parts").locked(), pytest.raises(OutputError, match="another run is writing parts here"):
        run(work, pictures, tmp_path)


def test_options_that_cannot_be_are_refused_before_any_work(
    work: Work, pictures: Path, tmp_path: Path, computed: list[int]
) -> None:
    for changed, message in (
        (replace(work, part_images=5), "a multiple of the batch"),
        (replace(work, operating_point="none"), "no operating point 'none'"),
        (replace(work, suffix=".parquet"), r"expected a name in .parquet"),
    ):
        with pytest.raises(SettingsError, match=message):
            predict_in_parts([str(pictures)], changed, tmp_path / "table.csv", tmp_path / "parts")
    with pytest.raises(SettingsError, match="memory://, which only this process sees"):
        predict_in_parts(["memory://a"], work, tmp_path / "table.csv", tmp_path / "parts", spread="ray")
    (tmp_path / "nothing.csv").write_text("image\n")
    with pytest.raises(ImageError, match=r"nothing.csv: no images"):
        run(work, tmp_path / "nothing.csv", tmp_path)
    assert computed == []


@pytest.mark.slow
def test_ten_times_the_images_take_no_more_memory(
    bundle_folder: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    """900 more images are 225 MB once decoded; a process that held them, or their rows, would be seen."""
    one = tmp_path / "one.png"
    cv2.imwrite(str(one), rng.integers(0, 256, (500, 500), dtype=np.uint8))
    peaks = {}
    for count in (100, 1000):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number:04d}.png").hardlink_to(one)
        command = [sys.executable, "-m", "resight.cli.main", "predict", str(bundle_folder), str(folder)]
        command += [
            "--out",
            str(tmp_path / f"{count}.csv"),
            "--part-images",
            "50",
            "--batch",
            "25",
            "--engine",
            "torch",
        ]
        command += ["--parts", str(tmp_path / f"{count}.parts")]
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        _, code, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        assert process.returncode == 0
        assert len(pd.read_csv(tmp_path / f"{count}.csv")["image"].unique()) == count
        peaks[count] = used.ru_maxrss / 1024
    assert peaks[1000] < peaks[100] + 40, peaks
