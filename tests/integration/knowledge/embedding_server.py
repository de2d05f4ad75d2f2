"""An endpoint of embeddings, as a process of its own: `python embedding_server.py DIMENSIONS`. It says its port.

Texts of the same words in any order have the same vector. `POST /behave` says how the next requests are answered.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def vector_of(text: str, dimensions: int) -> list[float]:
    """Not of length 1, as some models' are not."""
    numbers = [0.0] * dimensions
    for word, count in Counter(text.lower().split()).items():
        digest = hashlib.sha256(word.encode()).digest()
        for place in range(dimensions):
            numbers[place] += count * (digest[place % 32] - 127.5)
    return numbers if any(numbers) else [1.0] * dimensions


class Behaviour:
    """How to answer: well, but for the next `times` requests, `after` so many. `seen` are the requests so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.said: dict[str, Any] = {}
        self.seen: list[dict[str, Any]] = []

    def take(self) -> dict[str, Any]:
        with self.lock:
            if self.said.get("after", 0) > 0:
                self.said["after"] -= 1
                return {}
            if self.said.get("times", 0) <= 0:
                return {}
            self.said["times"] -= 1
            return dict(self.said)


class Handler(BaseHTTPRequestHandler):
    dimensions = 8
    behaviour = Behaviour()

    def do_GET(self) -> None:
        self._answer(200, self.behaviour.seen)

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/behave":
            self.behaviour.said = said
            self._answer(200, {})
            return
        self.behaviour.seen.append(
            {
                "texts": len(said["input"]),
                "model": said["model"],
                "dimensions": said.get("dimensions"),
                "authorization": self.headers.get("Authorization"),
                "cookie": self.headers.get("Cookie"),
            }
        )
        how = self.behaviour.take()
        status = how.get("status", 200)
        headers = dict(how.get("headers", {}))
        if status != 200:
            told = f"Authorization: {self.headers.get('Authorization')}" if how.get("echo") else "not now"
            if "retry_after" in how:
                headers["Retry-After"] = str(how["retry_after"])
            self._answer(status, {"error": told}, headers)
            return
        if "raw" in how:
            self._send(200, how["raw"].encode() * how.get("repeat", 1), {})
            return
        self._answer(200, {"data": self._rows(said["input"], how)}, headers)

    def _rows(self, texts: list[str], how: dict[str, Any]) -> list[dict[str, Any]]:
        rows = [
            {"index": place, "embedding": vector_of(text, how.get("dimensions", self.dimensions))}
            for place, text in enumerate(texts)
        ]
        if "first" in how:
            first = [math.nan if number == "nan" else number for number in how["first"]]
            rows[0]["embedding"] = first * self.dimensions
        rows = rows[: how.get("rows", len(rows))]
        return rows * how.get("repeated", 1) if not how.get("reversed") else rows[::-1]

    def _answer(self, status: int, said: Any, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(said).encode(), headers or {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


def main() -> None:
    Handler.dimensions = int(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
