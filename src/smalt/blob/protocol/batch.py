"""Blob Batch: many deletions, or changes of tier, in one multipart request, each authorized for itself.

The parts of `delete_blobs` and `set_standard_blob_tier_blobs` name their blob as `/container/blob`, after the account's
domain, or after its plain name, as the client came to know it. The account is that of the batch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus

from smalt.blob.errors import BlobError, unsupported
from smalt.blob.names import Target, domain_of, names_account
from smalt.blob.protocol.message import (
    ADDRESS_HEADER,
    PROTOCOL_HEADER,
    TARGET_PATH,
    Answer,
    Message,
    Receive,
    Request,
    Send,
    parse_query,
)

_MAX_BYTES = 4 << 20
_MAX_PARTS = 256
App = Callable[[Message, Receive, Send], Awaitable[None]]


async def run_batch(app: App, request: Request, answer: Answer) -> None:
    """Each part is a request of its own to `app`; the answers are one multipart body, in order."""
    boundary = _boundary(request.header("content-type"))
    parts = _parts(await request.body(_MAX_BYTES), boundary)
    if not 0 < len(parts) <= _MAX_PARTS:
        raise BlobError(400, "InvalidInput", f"A batch has 1 to {_MAX_PARTS} requests; this one has {len(parts)}.")
    scopes = [(_scope(request, content), number) for content, number in parts]
    if len({_operation(scope) for scope, _ in scopes}) > 1:
        raise BlobError(400, "AllOperationsInBatchNotSame", "All requests of a batch must be of one kind.")
    marker = f"batchresponse_{boundary.removeprefix('batch_')}"
    body = bytearray()
    for scope, number in scopes:
        captured = _Captured()
        await app(scope, captured.receive, captured.send)
        head = f"--{marker}\r\nContent-Type: application/http\r\nContent-ID: {number}\r\n\r\n"
        body += head.encode() + captured.http() + b"\r\n"
    body += f"--{marker}--".encode()
    await answer.send(202, {"content-type": f"multipart/mixed; boundary={marker}"}, bytes(body))


class _Captured:
    """What the app answers to one part."""

    def __init__(self) -> None:
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""

    async def receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], message["headers"]
        else:
            self.body += message.get("body", b"")

    def http(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}".encode()]
        lines += [name + b": " + value for name, value in self.headers]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def _boundary(content_type: str) -> str:
    kind, _, parameters = content_type.partition(";")
    name, _, value = parameters.strip().partition("=")
    if kind.strip().lower() != "multipart/mixed" or name.lower() != "boundary" or not value:
        raise BlobError(400, "InvalidHeaderValue", "A batch is multipart/mixed with a boundary.")
    return value.strip('"')


def _parts(body: bytes, boundary: str) -> list[tuple[bytes, str]]:
    """Each part's inner request, and its Content-ID."""
    found: list[tuple[bytes, str]] = []
    for part in body.replace(b"\r\n", b"\n").split(b"--" + boundary.encode())[1:]:
        if part.startswith(b"--"):
            break
        head, _, content = part.lstrip(b"\n").partition(b"\n\n")
        found.append((content, _headers(head.split(b"\n")).get(b"content-id", b"").decode("latin-1")))
    return found


def _scope(request: Request, content: bytes) -> Message:
    lines = content.partition(b"\n\n")[0].split(b"\n")
    try:
        method, url, _ = lines[0].split(b" ")
    except ValueError:
        raise BlobError(400, "InvalidInput", "A part of the batch is not an HTTP request.") from None
    path, _, query = url.partition(b"?")
    if method != b"DELETE" and (method != b"PUT" or not _sets_tier(query)):
        raise unsupported(f"{method.decode('latin-1')} in a batch, other than for a tier,")
    headers = _headers(lines[1:])
    for said_by_the_gateway in (PROTOCOL_HEADER, ADDRESS_HEADER):  # of the whole batch; a part could only forge it
        headers.pop(said_by_the_gateway.encode(), None)
    headers[b"host"] = request.header("host").encode("latin-1")
    if not names_account(path):
        headers[b"host"] = domain_of(request.target.account).encode()
    return {
        "type": "http",
        "method": method.decode(),
        "path": path.decode("latin-1"),
        "raw_path": path,  # signatures cover it as it is
        TARGET_PATH: _below_account(path, request.target).decode("latin-1"),
        "query_string": query,
        "headers": list(headers.items()),
        "scheme": request.scheme,
        "client": (request.client, 0),
    }


def _below_account(path: bytes, batch: Target) -> bytes:
    """The path of a part without the plain name of the account, where it begins with that."""
    first, _, rest = path.lstrip(b"/").partition(b"/")
    if first != batch.account.encode():
        return path
    container = rest.partition(b"/")[0]
    return path if batch.container and container != batch.container.encode() else b"/" + rest


def _operation(scope: Message) -> str:
    """Deleting a blob and deleting its snapshots are one kind of operation."""
    return str(scope["method"])


def _sets_tier(query: bytes) -> bool:
    return parse_query(query.decode("latin-1")).get("comp", "").lower() == "tier"


def _headers(lines: list[bytes]) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in lines if b":" in line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}
