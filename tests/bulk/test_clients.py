"""Images out of a web server and out of an S3 bucket: real clients and their protocols, servers on the loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import pandas as pd
import pytest

from resight.bulk import clients, predict_in_parts
from resight.bulk.part import Work
from resight.errors import CohortError, ImageError, ResightError

_XML = "http://s3.amazonaws.com/doc/2006-03-01/"


class Bucket(BaseHTTPRequestHandler):
    """What S3 answers to GetObject, HeadObject and ListObjectsV2, two keys a page; requests have to be signed.

    Args:
        objects: by key, of the one bucket `images`.
    """

    protocol_version = "HTTP/1.1"

    def __init__(self, objects: dict[str, bytes], *args: object) -> None:
        self.objects = objects
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None: ...

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        bucket, _, key = unquote(address.path).lstrip("/").partition("/")
        if "Credential=reader/" not in self.headers.get("Authorization", ""):
            self._say(403, _error("AccessDenied"))
        elif bucket != "images":
            self._say(404, _error("NoSuchBucket"))
        elif not key:
            self._say(200, self._page({name: values[0] for name, values in parse_qs(address.query).items()}))
        elif key not in self.objects:
            self._say(404, _error("NoSuchKey"))
        elif asked := self.headers.get("Range"):
            data = self.objects[key]
            first, _, last = asked.removeprefix("bytes=").partition("-")
            end = min(int(last or len(data) - 1), len(data) - 1)
            self._say(206, data[int(first) : end + 1], {"Content-Range": f"bytes {first}-{end}/{len(data)}"})
        else:
            self._say(200, self.objects[key])

    def _page(self, query: dict[str, str]) -> bytes:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        entries: dict[str, str] = {}
        for key in sorted(one for one in self.objects if one.startswith(prefix)):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            common = prefix + head + found
            entries[common if found else key] = (
                f"<CommonPrefixes><Prefix>{escape(common)}</Prefix></CommonPrefixes>"
                if found
                else f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f"<Size>{len(self.objects[key])}</Size></Contents>"
            )
        left = sorted(one for one in entries if one > query.get("continuation-token", ""))
        more = f"<NextContinuationToken>{escape(left[1])}</NextContinuationToken>" if len(left) > 2 else ""
        return (
            f'<ListBucketResult xmlns="{_XML}"><Name>images</Name><Prefix>{escape(prefix)}</Prefix>'
            f"<KeyCount>{len(left[:2])}</KeyCount><MaxKeys>2</MaxKeys><IsTruncated>{str(bool(more)).lower()}"
            f"</IsTruncated>{more}{''.join(entries[one] for one in left[:2])}</ListBucketResult>"
        ).encode()

    def _say(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "ETag": '"1"', "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


def _error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def web(pictures: Path) -> Iterator[str]:
    with serving(partial(Quiet, directory=str(pictures.parent))) as address:
        yield f"{address}/{pictures.name}"


@pytest.fixture
def bucket(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """Objects of the bucket `images`: the pictures, and what a test adds."""
    objects = {
        f"day 1/{path.relative_to(pictures).as_posix()}": path.read_bytes()
        for path in pictures.rglob("*")
        if path.is_file()
    }
    with serving(partial(Bucket, objects)) as address:
        for name, value in (
            ("AWS_ENDPOINT_URL", address),
            ("AWS_ACCESS_KEY_ID", "reader"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ):
            monkeypatch.setenv(name, value)
        yield objects
    clients._s3.cache_clear()


Tables = Callable[[str], pd.DataFrame]


@pytest.fixture
def table(bundle_folder: Path, tmp_path: Path) -> Tables:
    def of(place: str) -> pd.DataFrame:
        out = tmp_path / "table.csv"
        predict_in_parts([place], Work(str(bundle_folder)), out, tmp_path / "parts", force=True)
        return pd.read_csv(out)

    return of


def test_a_bucket_gives_the_rows_that_the_folder_gives(bucket: dict[str, bytes], pictures: Path, table: Tables) -> None:
    expected = table(str(pictures)).drop(columns="error")
    found = table("s3://images/day 1")
    assert found["error"].notna().sum() == 1 * found["label"].nunique(), "the picture that is cut off"
    pd.testing.assert_frame_equal(found.drop(columns="error"), expected)
    bucket["list.csv"] = b"image\ns3://images/day 1/0.png\ns3://images/absent.png\n"
    rows = table("s3://images/list.csv").set_index("image")
    assert rows["logit"]["s3://images/day 1/0.png"].tolist() == expected.set_index("image")["logit"]["0.png"].tolist()
    assert set(rows["error"]["s3://images/absent.png"]) == {"s3://images/absent.png: no such file or folder"}


def test_a_web_server_gives_single_images_and_lists_of_them(web: str, pictures: Path, table: Tables) -> None:
    expected = table(str(pictures)).set_index("image")["logit"]["0.png"].tolist()
    assert table(f"{web}/0.png")["logit"].tolist() == expected
    (pictures / "list.csv").write_text(f"image\n{web}/0.png\n{web}/absent.png\n")
    rows = table(f"{web}/list.csv").set_index("image")
    assert rows["logit"][f"{web}/0.png"].tolist() == expected
    assert set(rows["error"][f"{web}/absent.png"]) == {f"{web}/absent.png: no such file or folder"}


@pytest.mark.parametrize(
    ("place", "error"),
    [
        ("s3://images/absent", ImageError),
        ("s3://other/absent", ImageError),
        ("s3://images/absent.csv", CohortError),
    ],
)
def test_what_is_not_in_a_bucket_is_told_in_one_line(
    bucket: dict[str, bytes], table: Tables, place: str, error: type[ResightError]
) -> None:
    with pytest.raises(error) as told:
        table(place)
    assert str(told.value).startswith(place)
    assert "\n" not in str(told.value)


def test_what_a_web_server_does_not_have_is_told_in_one_line(web: str, table: Tables) -> None:
    with pytest.raises(ImageError, match=r"absent\.png: no such file or folder"):
        table(f"{web}/absent.png")
    with pytest.raises(CohortError, match=r"absent\.csv: cannot be read"):
        table(f"{web}/absent.csv")


def test_a_wrong_key_is_told_in_one_line(
    bucket: dict[str, bytes], table: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "stranger")
    clients._s3.cache_clear()
    with pytest.raises(CohortError, match=r"ACCESS_DENIED|AccessDenied|403"):
        table("s3://images/day 1/list.csv")
