"""A study that reaches Orthanc comes to the node by itself, and the findings are back in Orthanc within ten seconds."""

from __future__ import annotations

import io
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pydicom
import pytest
from serving_images import radiograph, write
from serving_processes import Served, free_port, need, orthanc, wait_until

pytestmark = pytest.mark.slow

# once a study has been stable for a second, it is sent to the node as a whole, results of the node included
ROUTE = """
function OnStableStudy(studyId, tags, metadata)
  RestApiPost('/modalities/ai/store', studyId)
end
"""


@pytest.fixture
def clinic(tmp_path: Path) -> Iterator[tuple[Served, str]]:
    port = free_port()
    archive = {"name": "archive", "ae_title": "ORTHANC", "port": port}
    served = Served(tmp_path, destinations=[archive])
    settings = served.file.read_text().replace(f"port = {port}", "port = ORTHANC_PORT")
    with orthanc(tmp_path, served.dicom, ROUTE) as (url, dicom):
        served.file.write_text(settings.replace("ORTHANC_PORT", str(dicom)))
        served.start()
        yield served, url
        served.stop()


def modalities(url: str) -> list[str]:
    series = httpx.get(url + "/series?expand").json()
    return sorted(one["MainDicomTags"]["Modality"] for one in series)


def test_findings_come_back_once_however_often_the_study_is_sent(clinic: tuple[Served, str], tmp_path: Path) -> None:
    served, url = clinic
    file = write(radiograph(size_px=256), tmp_path / "image.dcm")
    begun = time.monotonic()
    assert httpx.post(url + "/instances", content=file.read_bytes()).status_code == 200
    wait_until(lambda: modalities(url) == ["DX", "OT", "SR"], 30, "report and overlay are in Orthanc")
    took_s = time.monotonic() - begun
    print(
        f"report and overlay were in Orthanc after {took_s:.1f} s, of which 1 s is Orthanc's and 0.5 s the quiet time"
    )
    assert took_s < 10

    study = httpx.get(url + "/studies").json()[0]
    for _ in range(2):  # a second and third time, now with our own results among the instances
        answer = httpx.post(url + "/modalities/ai/store", content=study, timeout=30)
        assert answer.status_code == 200
        assert answer.json()["FailedInstancesCount"] == 0
    time.sleep(3)
    assert modalities(url) == ["DX", "OT", "SR"]
    assert len(httpx.get(url + "/instances").json()) == 3

    token = served.token("service")
    found = httpx.get(f"{served.url}/api/studies/1.2.826.1", headers=token).json()
    assert found["state"] == "done"
    assert len(found["results"]) == 1
    assert [one["delivered_to"] for one in found["objects"]] == [["archive"], ["archive"]]
    check_objects(url, tmp_path)
    log = served.log.read_text()
    assert "Secretname" not in log
    assert "SECRETID" not in log
    assert "unchanged" in served.command("audit-log", "verify", str(served.file))


def check_objects(url: str, tmp_path: Path) -> None:
    dciodvfy, dsrdump = need("dciodvfy"), need("dsrdump")
    for key in httpx.get(url + "/instances").json():
        data = httpx.get(f"{url}/instances/{key}/file").content
        dataset = pydicom.dcmread(io.BytesIO(data))
        assert dataset.PatientName == "Secretname^Jane"
        path = tmp_path / f"{key}.dcm"
        path.write_bytes(data)
        if dataset.Modality == "DX":
            continue
        said = subprocess.run([dciodvfy, str(path)], capture_output=True, text=True, timeout=60, check=False)
        assert "Error" not in said.stdout + said.stderr, said.stderr
        if dataset.Modality == "SR":
            text = subprocess.run(
                [dsrdump, "+Pl", str(path)], capture_output=True, timeout=60, check=True
            ).stdout.decode()
            assert "operating point: youden" in text
            assert "For research use only" in text


def test_results_wait_for_an_archive_that_is_away(tmp_path: Path) -> None:
    storescu, port = need("storescu"), free_port()
    away = {"name": "archive", "ae_title": "ORTHANC", "port": port}
    served = Served(tmp_path, destinations=[away], delivery={"first_wait_s": 0.5, "longest_wait_s": 1.0})
    served.start()
    file = write(radiograph(), tmp_path / "image.dcm")
    subprocess.run(
        [storescu, "-aet", "SENDER", "-aec", "RESIGHT", "127.0.0.1", str(served.dicom), str(file)],
        check=True,
        timeout=60,
    )
    token = served.token("service")

    def study() -> dict:
        return httpx.get(f"{served.url}/api/studies/1.2.826.1", headers=token).json()

    wait_until(lambda: study()["state"] == "done", 30, "the study is predicted")
    time.sleep(2)
    assert [one["delivered_to"] for one in study()["objects"]] == [[], []]
    served.kill()
    settings = served.file.read_text()
    with orthanc(tmp_path, served.dicom) as (url, dicom):
        served.file.write_text(settings.replace(f"port = {port}", f"port = {dicom}"))
        served.start()
        wait_until(lambda: modalities(url) == ["OT", "SR"], 30, "results arrive after all")
        served.stop()
