"""An object store on this machine as S3 and GCS speak: objects in memory, lists in XML, a page of two at a time."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

PAGE = 2
_MOMENT = "2026-01-02T03:04:05.000Z"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]

    def do_PUT(self) -> None:
        self.objects[self._key] = self.rfile.read(int(self.headers["content-length"]))
        self._answer(200, headers={"ETag": '"1"'})

    def do_GET(self) -> None:
        if "list-type" in self._query:
            self._answer(200, self._listed())
        elif self._key in self.objects:
            told = {"ETag": '"1"', "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
            self._answer(200, self.objects[self._key], told)
        else:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    def do_DELETE(self) -> None:
        self._answer(204 if self.objects.pop(self._key, None) is not None else 404)

    def do_POST(self) -> None:
        """S3 removes many at once."""
        asked = self.rfile.read(int(self.headers["content-length"])).decode()
        keys = re.findall("<Key>(.*?)</Key>", asked)
        for key in keys:
            self.objects.pop(key, None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def _listed(self) -> bytes:
        prefix, delimiter = self._query.get("prefix", ""), self._query.get("delimiter")
        after = self._query.get("continuation-token") or self._query.get("start-after", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        folders = sorted({key.split(delimiter)[0] + delimiter for key in keys if delimiter in key}) if delimiter else []
        page = [] if delimiter else keys[:PAGE]
        more = not delimiter and len(keys) > PAGE
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{_MOMENT}</LastModified><ETag>1</ETag>"
            f"<Size>{len(self.objects[key])}</Size></Contents>"
            for key in page
        )
        prefixes = "".join(f"<CommonPrefixes><Prefix>{escape(one)}</Prefix></CommonPrefixes>" for one in folders)
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        return f"<ListBucketResult>{contents}{prefixes}{token}</ListBucketResult>".encode()

    @property
    def _key(self) -> str:
        """Without the bucket."""
        return unquote(urlsplit(self.path).path).removeprefix("/").partition("/")[2]

    @property
    def _query(self) -> dict[str, str]:
        asked = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        return {name: values[0] for name, values in asked.items()}

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing of it is news."""


@contextmanager
def object_server() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Its URL, and the objects of its one bucket by key."""
    objects: dict[str, bytes] = {}
    handler = type("Handler", (_Handler,), {"objects": objects})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", objects
        finally:
            server.shutdown()
            thread.join()
