"""A real issuer of ID tokens: a process of its own with its own keys, and the ways in which such a server goes wrong.

Run as a script it serves; `LocalIssuer` starts it and asks it for tokens.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

KINDS: Mapping[str, Any] = {
    "RS256": lambda name: RSAKey.generate_key(2048, {"kid": name, "use": "sig"}),
    "ES256": lambda name: ECKey.generate_key("P-256", {"kid": name, "use": "sig"}),
    "EdDSA": lambda name: OKPKey.generate_key("Ed25519", {"kid": name, "use": "sig"}),
}


class LocalIssuer:
    """The process, seen from a test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{self._process.stdout.readline().strip()}"
        self._client = httpx.Client(base_url=self.url, trust_env=False)

    @property
    def keys_url(self) -> str:
        return f"{self.url}/keys"

    def sign(self, claims: Mapping[str, Any], algorithm: str = "RS256", **header: Any) -> str:
        body = {"claims": claims, "algorithm": algorithm, "header": header}
        return self._client.post("/sign", json=body).raise_for_status().text

    def rotate(self) -> None:
        """New keys under new names; the former are gone."""
        self._client.post("/rotate").raise_for_status()

    def fetches(self) -> int:
        """How often the keys were fetched."""
        return int(self._client.get("/fetches").text)

    def published_keys(self) -> list[dict[str, Any]]:
        listed = self._client.get("/keys?quiet").json()["keys"]
        return [key for key in listed if isinstance(key, dict)]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._client.close()


class Keys:
    def __init__(self) -> None:
        self.generation = self.fetches = 0
        self.rotate()

    def rotate(self) -> None:
        self.generation += 1
        self.pairs = {name: make(f"{name}-{self.generation}") for name, make in KINDS.items()}

    def published(self) -> dict[str, Any]:
        """The public keys, and what a verifier must leave alone."""
        weak = RSAKey.generate_key(1024, {"kid": "weak"})
        shared = OctKey.import_key("a secret of the issuer that has no place here", {"kid": "shared"})
        odd = [weak.as_dict(private=False), shared.as_dict(private=True), {"kty": "unknown", "kid": "odd"}, 7]
        return {"keys": [*(pair.as_dict(private=False) for pair in self.pairs.values()), *odd]}

    def sign(self, asked: dict[str, Any]) -> str:
        pair = self.pairs[asked["algorithm"]]
        header = {"alg": asked["algorithm"], "kid": pair.kid, **asked["header"]}
        registry = jws.JWSRegistry(algorithms=list(KINDS), strict_check_header=False)
        return jws.serialize_compact(header, json.dumps(asked["claims"]), pair, registry=registry)


def serve() -> None:
    keys = Keys()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/keys":
                keys.fetches += 1
            if self.path == "/slow":
                self.rfile.read()  # until the client has had enough
            if self.path == "/elsewhere":
                self.answer(b"", 302, Location="/keys")
            else:
                pages = {"/fetches": str(keys.fetches), "/words": "sorry", "/list": "[]", "/huge": "x" * 300_000}
                self.answer(pages.get(self.path, json.dumps(keys.published())).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            if self.path == "/rotate":
                keys.rotate()
            self.answer(keys.sign(json.loads(body)).encode() if self.path == "/sign" else b"")

        def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    serve()
