"""How schemathesis writes what no schema describes: bodies of several parts with DICOM files in them."""

from __future__ import annotations

import schemathesis

_BOUNDARY = "part"


@schemathesis.serializer("multipart/related")
def related(_context: object, value: object) -> bytes:
    """Whatever was drawn as the one part of a body."""
    content = value if isinstance(value, bytes) else str(value).encode()
    head = f"--{_BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n"
    return head.encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


@schemathesis.hook
def before_call(_context: object, case: schemathesis.Case, **_: object) -> None:
    """Name the boundary; without it every body would be refused unread."""
    if case.method == "POST" and case.path.startswith("/dicom-web/"):
        case.headers["Content-Type"] = f'multipart/related; type="application/dicom"; boundary={_BOUNDARY}'
