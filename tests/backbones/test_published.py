"""Weights are fetched from a real server, whole and checked or not at all, and never when that is forbidden."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from resight.backbones.published import TORCH_HUB_FILES, Address, fetch_weights, find_weights
from resight.errors import BundleError, OutputError, SettingsError

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/redirected":
            self.send_response(302)
            self.send_header("Location", "/whole")
            self.end_headers()
        elif self.path == "/whole" or self.path == "/owner/model/resolve/main/model.safetensors":
            self._answer(CONTENT, len(CONTENT))
        elif self.path == "/nolength":
            self._answer(CONTENT, None)
        elif self.path == "/short":
            self._answer(CONTENT[:3000], len(CONTENT))
        elif self.path == "/closed":
            self.send_error(403)
        else:
            self.send_error(404)

    def _answer(self, content: bytes, length: int | None) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RESIGHT_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("page", ["whole", "redirected", "nolength"])
def test_a_file_arrives_whole(server: str, tmp_path: Path, page: str) -> None:
    told: list[int] = []
    path = tmp_path / "weights"
    digest = fetch_weights(
        Address(f"{server}/{page}"), path, progress=lambda stage, done, total, text: told.append(done)
    )
    assert path.read_bytes() == CONTENT
    assert digest == DIGEST
    assert told[-1] == len(CONTENT)
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_names_of_hugging_face_lead_to_its_files_or_a_mirrors(server: str, tmp_path: Path) -> None:
    assert find_weights("hf:timm/resnet18.a1_in1k").url == (
        "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors"
    )
    pinned = find_weights("hf:owner/model@v1.0/nested/weights.pth").url
    assert pinned == "https://huggingface.co/owner/model/resolve/v1.0/nested/weights.pth"
    fetch_weights(find_weights("hf:owner/model", mirror=f"{server}/"), tmp_path / "weights")
    assert (tmp_path / "weights").read_bytes() == CONTENT


def test_files_of_torch_hub_are_checked_against_their_names(tmp_path: Path) -> None:
    name = TORCH_HUB_FILES["resnet50"]
    assert find_weights("torchhub:resnet50") == Address(f"https://download.pytorch.org/models/{name}", "0676ba61")
    assert all(len(find_weights(f"torchhub:{n}").sha256) == 8 for n in TORCH_HUB_FILES)
    (tmp_path / name).write_bytes(CONTENT)
    with pytest.raises(BundleError, match=f"sha256 is {DIGEST}; expected 0676ba61"):
        fetch_weights(find_weights("torchhub:resnet50", mirror=tmp_path.as_uri()), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_checksum_that_is_given_is_compared_too(server: str, tmp_path: Path) -> None:
    fetch_weights(Address(f"{server}/whole"), tmp_path / "a", sha256=DIGEST.upper())
    with pytest.raises(BundleError, match="expected 00"):
        fetch_weights(Address(f"{server}/whole"), tmp_path / "b", sha256="00")


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("short", "breaks off after 3000 of 1280000 bytes"),
        ("closed", "403.*in a browser"),
        ("absent", "404.*no such file"),
    ],
)
def test_what_does_not_arrive_leaves_the_old_file(server: str, tmp_path: Path, page: str, words: str) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"old")
    with pytest.raises(BundleError, match=words):
        fetch_weights(Address(f"{server}/{page}"), path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["weights"]


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"cannot be reached \(.+\)\. Fetch the file on a machine with a network"):
        fetch_weights(Address("http://127.0.0.1:9/weights"), tmp_path / "weights")
    with pytest.raises(BundleError, match="cannot be reached"):
        fetch_weights(Address((tmp_path / "absent").as_uri()), tmp_path / "weights")


def test_files_that_are_too_large_are_refused(server: str, tmp_path: Path) -> None:
    for page in ("whole", "nolength"):
        with pytest.raises(BundleError, match=r"0\.00\d+ GB or more; expected at most 0\.0001 GB"):
            fetch_weights(Address(f"{server}/{page}"), tmp_path / "weights", largest_gb=1e-4)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["RESIGHT_OFFLINE", "HF_HUB_OFFLINE"])
def test_nothing_is_fetched_offline(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"{name} is set, so nothing is fetched"):
        fetch_weights(Address(f"{server}/whole"), tmp_path / "weights")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(server: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        fetch_weights(Address(f"{server}/whole"), tmp_path / "absent" / "weights")


@pytest.mark.parametrize("name", ["resnet18", "hf:one-part", "hf:a/b@", "ftp://host/file", ""])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(SettingsError, match="expected hf:owner/model"):
        find_weights(name)


def test_a_near_name_of_torch_hub_is_suggested() -> None:
    with pytest.raises(SettingsError, match="resnet50"):
        find_weights("torchhub:resnet5O")
