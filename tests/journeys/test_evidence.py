"""What an auditor asks for: a pack from a finished run, signed, and every change found."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from resight.evidence import questions
from resight.experiments.pack import Pack, verify_pack, write_pack
from resight.models.lock import verify_lock
from resight.settings import write_json

pytest.importorskip("cyclonedx", reason="the extra `evidence` is not installed")
SEALS = {"pack.json", "pack.json.sha256"}


@pytest.fixture(scope="module")
def made(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return write_pack(run_folder, tmp_path_factory.mktemp("evidence") / "pack")


@pytest.fixture(scope="module")
def pack(made: Pack) -> Path:
    return made.folder


@pytest.fixture
def copy(pack: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pack, tmp_path / "pack"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= 1
    path.write_bytes(bytes(data))


def rewrite_checksums(folder: Path) -> None:
    """What somebody does who changes a file and hides it."""
    sealed = json.loads((folder / "pack.json").read_text())
    sealed["files"] = {name: digest(folder / name) for name in sealed["files"]}
    write_json(folder / "pack.json", sealed)
    (folder / "pack.json.sha256").write_text(f"{digest(folder / 'pack.json')}  pack.json\n")


def test_every_file_is_named_with_its_checksum(pack):
    named = json.loads((pack / "pack.json").read_text())["files"]
    assert {path.name for path in pack.iterdir()} == {*named, *SEALS}
    assert named == {name: digest(pack / name) for name in named}
    assert {"evidence.html", "model-card.md", "datasheet.md", "risks.yaml", "sbom.json", "figures.json"} <= set(named)
    assert (pack / "evidence.pdf").read_bytes().startswith(b"%PDF")


def test_what_is_missing_is_counted_on_the_first_page_and_named(made, pack):
    page = (pack / "evidence.html").read_text()
    assert f"{made.total_missing} entries are missing" in page
    with (pack / "checklists.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    claim = [row for row in rows if row["list"].startswith("CLAIM")]
    assert len(claim) == 44
    assert made.missing["CLAIM (2024 update)"] == (sum(row["status"] != "answered" for row in claim), 44)
    funding = next(row for row in claim if row["item"] == "44")
    assert (funding["status"], funding["answer"], funding["missing"]) == ("missing", "", "funding")
    partition = next(row for row in claim if row["item"] == "20")
    assert partition["status"] == "answered"
    assert "0 patients are in two parts" in partition["answer"]


def test_answers_and_risks_of_people_go_into_the_next_pack(resight, made, copy, run_folder):
    answers, risks = copy / "answers.toml", copy / "risks.yaml"
    answers.write_text(answers.read_text().replace('funding = ""', 'funding = "Paid by <nobody> & friends"'))
    text = risks.read_text()
    for old, new in (
        ("severity: null", "severity: 4"),
        ("p1: null", "p1: 0.2"),
        ("p2: null", "p2: 0.05"),
        ('residual: ""', "residual: acceptable"),
    ):
        text = text.replace(old, new, 1)
    risks.write_text(text)
    options = ("--answers", answers, "--risks", risks, "--force", "--json")
    after = resight("evidence", run_folder, "--out", copy, *options).json()
    asking = 4  # TRIPOD+AI, CLAIM, STARD-AI and the datasheet ask for funding
    assert after["total_missing"] == made.total_missing - asking - 1
    page = (copy / "evidence.html").read_text()
    assert "Paid by &lt;nobody&gt; &amp; friends" in page
    assert "<td>0.01</td>" in page  # P1 x P2
    assert verify_pack(copy) == []


def test_risks_may_be_given_as_toml(resight, made, run_folder, tmp_path):
    given = tmp_path / "mine.toml"
    given.write_text('[[hazard]]\nname = "Only one"\nseverity = 2\n')
    answer = resight("evidence", run_folder, "--out", tmp_path / "pack", "--risks", given)
    assert answer.code == 0, answer.complaint
    assert (tmp_path / "pack" / "risks.toml").read_text() == given.read_text()
    assert not (tmp_path / "pack" / "risks.yaml").exists()
    assert "Only one" in (tmp_path / "pack" / "evidence.html").read_text()
    assert verify_pack(tmp_path / "pack") == []


def test_answers_to_questions_that_nobody_asks_are_refused(resight, run_folder, tmp_path):
    (tmp_path / "answers.toml").write_text('fundign = "x"\n')
    answer = resight("evidence", run_folder, "--out", tmp_path / "pack", "--answers", tmp_path / "answers.toml")
    assert answer.code == 3
    assert "Did you mean 'funding'?" in answer.complaint
    assert not (tmp_path / "pack").exists()


def test_no_path_of_this_machine_stands_in_a_pack(pack, run_folder, experiment):
    for path in pack.iterdir():
        text = path.read_bytes()
        assert str(run_folder.parent).encode() not in text
        assert str(experiment.parent).encode() not in text
        assert str(Path(__file__).parents[2]).encode() not in text


def test_the_software_list_names_torch_and_the_weights(pack, run_folder):
    parts = {part["name"]: part for part in json.loads((pack / "sbom.json").read_text())["components"]}
    assert parts["torch"]["version"]
    weights = parts["model.safetensors"]
    assert weights["type"] == "machine-learning-model"
    assert weights["hashes"][0]["content"] == digest(run_folder / "bundle" / "model.safetensors")


def test_a_changed_byte_of_any_file_of_a_pack_is_found(copy):
    for path in sorted(copy.iterdir()):
        untouched = path.read_bytes()
        flip(path, len(untouched) // 2)
        found = verify_pack(copy)
        assert found, path.name
        assert all(path.name in line for line in found), (path.name, found)
        path.write_bytes(untouched)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("evidence.html", "entries are missing", "entries are lacking"),
        ("figures.json", '"false_negatives": ', '"false_negatives": 1'),
        ("model-card.md", "## Limits", "## Strengths"),
        ("checklists.csv", "missing", "answered"),
    ],
)
def test_figures_that_were_improved_are_found_even_with_new_checksums(copy, name, old, new):
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    rewrite_checksums(copy)
    assert [line for line in verify_pack(copy) if line.startswith(name)]


def test_predictions_that_were_improved_are_found_even_with_new_checksums(copy):
    lines = (copy / "predictions.csv").read_text().splitlines()
    head = lines[0].split(",")
    split, target, decision = (head.index(name) for name in ("split", "target", "decision"))
    for place, line in enumerate(lines[1:], 1):
        cells = line.split(",")
        if cells[split] == "test" and float(cells[target]) != float(cells[decision]):
            cells[decision] = cells[target]
            lines[place] = ",".join(cells)
            break
    (copy / "predictions.csv").write_text("\n".join(lines) + "\n")
    rewrite_checksums(copy)
    found = "\n".join(verify_pack(copy))
    assert "figures.json: " in found
    assert "bundle-manifest.json: metrics" in found


def test_a_file_that_was_added_or_removed_is_found(copy):
    (copy / "more.txt").write_text("x")
    assert verify_pack(copy) == ["more.txt is not named in pack.json"]
    (copy / "more.txt").unlink()
    (copy / "evidence.pdf").unlink()
    assert verify_pack(copy) == ["evidence.pdf is missing"]


def test_a_run_that_was_changed_gives_no_pack(resight, run_folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["macro"]["auroc"]["value"] = 0.99
    (run / "metrics.json").write_text(json.dumps(metrics))
    answer = resight("evidence", run, "--out", tmp_path / "pack")
    assert answer.code == 5
    assert "macro.auroc.value" in answer.complaint


def test_a_signed_pack_is_verified_with_the_key_and_only_with_it(resight, copy, tmp_path):
    key = tmp_path / "key.pem"
    assert resight("lock", copy, "--new-key", key).code == 0
    assert resight("verify", copy, "--public-key", f"{key}.pub").code == 0
    assert "not compared" in resight("verify", copy).err
    other = tmp_path / "other.pem"
    assert resight("lock", "--new-key", other).code == 0
    answer = resight("verify", copy, "--public-key", f"{other}.pub")
    assert answer.code == 5
    assert "signed by the key" in answer.complaint
    for name in ("lock.json", "lock.sig"):
        (copy / name).unlink()
    assert resight("verify", copy).code == 0
    assert resight("verify", copy, "--public-key", f"{key}.pub").code == 5
    assert verify_lock(copy)


def test_every_question_has_a_place_that_asks_it():
    assert all(places for places in questions().values())
    assert "reference_standard" in questions()
