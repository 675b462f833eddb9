"""What reads S3 and the web where the libraries that fsspec asks for are not installed."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from functools import cache
from typing import IO, Any, Final

from resight.errors import require

_TIMEOUT_S: Final = 60.0


class WebFiles:
    """Single objects of web servers; what lies beside them is not known.

    Its methods are those of a file system of fsspec that `stores` uses.
    """

    def find(self, url: str) -> list[str]:
        """The object itself.

        Raises:
            OSError: it is not there, or the server does not answer.
        """
        with self.open(url):
            return [url]

    def isdir(self, url: str) -> bool:
        """No folder is known."""
        del url
        return False

    def open(self, url: str, mode: str = "rb") -> IO[bytes]:
        """Read an object from its beginning.

        Raises:
            OSError: it is not there, or the server does not answer.
        """
        del mode  # there is no other
        try:
            return urllib.request.urlopen(url, timeout=_TIMEOUT_S)  # noqa: S310 - only http and https come here
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in (404, 410):
                raise FileNotFoundError(url) from error
            raise OSError(f"the server answers {error.code}") from error


def s3_of_arrow() -> Any:
    """S3 by the client that pyarrow holds, as a file system of fsspec.

    Credentials and region come from where AWS's tools have them; another endpoint from `AWS_ENDPOINT_URL`.
    """
    return _s3(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


@cache
def _s3(endpoint: str | None) -> Any:
    arrow = require("pyarrow.fs", extra="cluster")
    wrapped = require("fsspec.implementations.arrow", extra="cluster")
    return wrapped.ArrowFSWrapper(arrow.S3FileSystem(endpoint_override=endpoint))
