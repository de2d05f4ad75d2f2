"""A model behind an endpoint of chats, as a process of its own: `python chat_server.py`. It says its port.

`POST /script` says what the next requests are answered with, in their order; `GET` answers the requests so far.
"""

from __future__ import annotations

import json
import select
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    script: list[dict[str, Any]] = []  # noqa: RUF012
    seen: list[dict[str, Any]] = []  # noqa: RUF012

    def do_GET(self) -> None:
        self._send(200, json.dumps(self.seen).encode())

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/script":
            self.script[:] = said
            self.seen.clear()
            self._send(200, b"{}")
            return
        self.seen.append({**said, "authorization": self.headers.get("Authorization")})
        self._answer(self.script.pop(0) if self.script else {"status": 500, "raw": "the script is over"})

    def _answer(self, how: dict[str, Any]) -> None:
        select.select([self.connection], [], [], how.get("wait", 0))  # until the other side hangs up, at most
        if "endless" in how:
            self._stream(how["endless"])
            return
        if "raw" in how:
            raw = how["raw"].replace("{authorization}", str(self.headers.get("Authorization")))
            self._send(how.get("status", 200), raw.encode() * how.get("repeat", 1))
            return
        calls = [
            {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for place, (name, arguments) in enumerate(how.get("calls", []))
        ]
        message = {"role": "assistant", "content": how.get("text"), **({"tool_calls": calls} if calls else {})}
        message |= {"refusal": how["refusal"]} if "refusal" in how else {}
        choice = {"index": 0, "message": message, "finish_reason": how.get("finish_reason", "stop")}
        body: dict[str, Any] = {"choices": [choice]}
        if "usage" in how:
            body["usage"] = how["usage"]
        self._send(200, json.dumps(body).encode())

    def _stream(self, piece: str) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(piece.encode() * 1_000)
        except OSError:
            return

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        return None


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
