"""Published weights by name, fetched only when a user asks for it: Hugging Face, torch hub's files, or any address.

Nothing in Resight calls this on its own. What was fetched is a file like any other: `load_weights` reads it.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from resight.errors import BundleError, OutputError, SettingsError, nearest
from resight.types import Progress, silent

TORCH_HUB_FILES: Final[Mapping[str, str]] = {
    "alexnet": "alexnet-owt-7be5be79.pth",
    "densenet121": "densenet121-a639ec97.pth",
    "inception_v3": "inception_v3_google-0cc3c7bd.pth",
    "resnet18": "resnet18-f37072fd.pth",
    "resnet34": "resnet34-b627a593.pth",
    "resnet50": "resnet50-0676ba61.pth",
    "resnet50-v2": "resnet50-11ad3fa6.pth",
    "resnet101": "resnet101-63fe2227.pth",
    "resnet101-v2": "resnet101-cd907fc2.pth",
    "resnet152": "resnet152-394f9c45.pth",
    "resnet152-v2": "resnet152-f82ba261.pth",
    "vgg16": "vgg16-397923af.pth",
    "vgg16_bn": "vgg16_bn-6c64b313.pth",
}
"""ImageNet weights under the names that torchvision 0.28 gives its files; the digits before `.pth` are the first of
the file's sha256."""
_TORCH_HUB: Final = "https://download.pytorch.org/models"
_HUGGING_FACE: Final = "https://huggingface.co"
_HUGGING_FACE_NAME: Final = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w.-]+))?(/(?P<file>[\w./-]+))?")
_HUGGING_FACE_FILE: Final = "model.safetensors"
_OFFLINE: Final = ("RESIGHT_OFFLINE", "HF_HUB_OFFLINE")
_FIXES: Final[Mapping[int, str]] = {
    401: "It may be closed to strangers: fetch it in a browser, then use `resight weights import`.",
    403: "It may be closed to strangers: fetch it in a browser, then use `resight weights import`.",
    404: "There is no such file: look for its name on the model's page.",
}
_PIECE_BYTES: Final = 1 << 20
_GB: Final = 1e9


@dataclass(frozen=True)
class Address:
    """Where a file of weights lies.

    Attributes:
        url: `https`, or `http` and `file` for mirrors in the house.
        sha256: its checksum or the first digits of it; empty where the name does not tell.
    """

    url: str
    sha256: str = ""


def find_weights(name: str, *, mirror: str = "") -> Address:
    """The address that a name stands for.

    Args:
        name: `hf:owner/model`, `hf:owner/model@revision/file`, `torchhub:resnet50`, or an address.
        mirror: address that replaces that of Hugging Face or of torch hub's files.

    Raises:
        SettingsError: no such kind of name, or no such torch hub file.
    """
    kind, _, rest = name.partition(":")
    if kind == "torchhub":
        if rest not in TORCH_HUB_FILES:
            raise SettingsError(f"unknown torch hub weights {rest!r}", fix=nearest(rest, TORCH_HUB_FILES))
        file = TORCH_HUB_FILES[rest]
        return Address(f"{(mirror or _TORCH_HUB).rstrip('/')}/{file}", Path(file).stem.rpartition("-")[2])
    if kind == "hf" and (found := _HUGGING_FACE_NAME.fullmatch(rest)):
        revision, file = found["revision"] or "main", found["file"] or _HUGGING_FACE_FILE
        return Address(f"{(mirror or _HUGGING_FACE).rstrip('/')}/{found['repo']}/resolve/{revision}/{file}")
    if kind in ("https", "http", "file"):
        return Address(name)
    expected = "hf:owner/model, torchhub:resnet50, or an address that begins with https:, http: or file:"
    raise SettingsError(f"{name!r} names no published weights", expected=expected)


def fetch_weights(
    address: Address,
    path: Path,
    *,
    sha256: str = "",
    largest_gb: float = 4.0,
    timeout_s: float = 30.0,
    progress: Progress = silent,
) -> str:
    """Fetch a file; it appears under `path` whole and checked, or not at all.

    Args:
        address: of `find_weights`.
        path: where the file is written.
        sha256: checksum it must have, where known.
        largest_gb: larger files are refused.
        timeout_s: longest silence of the server.
        progress: told the bytes done and of all (0 where the server does not say).

    Returns:
        The file's sha256.

    Raises:
        SettingsError: fetching was forbidden by `RESIGHT_OFFLINE` or `HF_HUB_OFFLINE`.
        BundleError: it cannot be reached, is not there, breaks off, is too large, or has another checksum.
        OutputError: the file cannot be written.
    """
    if forbidden := [name for name in _OFFLINE if os.environ.get(name, "").lower() in ("1", "true", "yes", "on")]:
        fix = f"Unset it, or fetch the file elsewhere and use `resight weights import`: {address.url}"
        raise SettingsError(f"{forbidden[0]} is set, so nothing is fetched", fix=fix)
    part = path.with_name(path.name + ".part")
    try:
        digest = _stream(address.url, part, largest_gb, timeout_s, progress)
        for wanted in filter(None, (address.sha256, sha256)):
            if not digest.startswith(wanted.lower()):
                raise BundleError(f"sha256 is {digest}", where=address.url, expected=wanted, fix="Fetch it again.")
        part.replace(path)
    except urllib.error.HTTPError as error:
        fix = _FIXES.get(error.code, "")
        raise BundleError(f"the server answers {error.code} ({error.reason})", where=address.url, fix=fix) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        fix = "Fetch the file on a machine with a network, then use `resight weights import`."
        reason = getattr(error, "reason", error) or type(error).__name__
        raise BundleError(f"cannot be reached ({reason})", where=address.url, fix=fix) from error
    except OSError as error:
        raise OutputError(f"cannot be written ({error})", where=str(path)) from error
    finally:
        part.unlink(missing_ok=True)
    return digest


def _stream(url: str, part: Path, largest_gb: float, timeout_s: float, progress: Progress) -> str:
    """Write what the server sends; gives the sha256."""
    request = urllib.request.Request(url, headers={"User-Agent": "resight"})  # noqa: S310  the user named the address
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(request, timeout=timeout_s) as answer, part.open("wb") as file:  # noqa: S310
        reached = urllib.parse.urlsplit(answer.geturl()).scheme
        if reached == "http" and url.startswith("https:"):
            raise BundleError("the server leads to an address that is not encrypted", where=url)
        size = int(answer.headers.get("Content-Length") or 0)
        while piece := answer.read(_PIECE_BYTES):
            done += len(piece)
            if max(done, size) > largest_gb * _GB:
                found = f"holds {max(done, size) / _GB:.3g} GB or more"
                raise BundleError(found, where=url, expected=f"at most {largest_gb:g} GB")
            digest.update(piece)
            file.write(piece)
            progress("fetch", done, size, "")
    if size and done != size:
        raise BundleError(f"breaks off after {done} of {size} bytes", where=url, fix="Fetch it again.")
    return digest.hexdigest()
