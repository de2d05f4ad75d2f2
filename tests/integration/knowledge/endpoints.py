"""An endpoint of embeddings that tests run and tell how to behave."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datalane.settings import EmbeddingEndpoint

SERVER = Path(__file__).with_name("embedding_server.py")
DIMENSIONS = 8


@dataclass(frozen=True)
class RunningEndpoint:
    """`behave` says how the next `times` requests are answered; without words they are answered well."""

    url: str

    def settings(self, **said: Any) -> EmbeddingEndpoint:
        usual: dict[str, Any] = {"name": "near", "url": f"{self.url}/v1", "model": "bags", "dimensions": DIMENSIONS}
        return EmbeddingEndpoint(**usual | said)

    def behave(self, times: int = 1, **how: Any) -> None:
        self._call("/behave", {"times": times, **how})

    def seen(self) -> list[dict[str, Any]]:
        """The requests so far."""
        found: list[dict[str, Any]] = self._call("/seen", None)
        return found

    def _call(self, path: str, said: Any) -> Any:
        data = None if said is None else json.dumps(said).encode()
        with urllib.request.urlopen(f"{self.url}{path}", data, timeout=10) as answer:
            return json.load(answer)


@contextmanager
def running_endpoint(dimensions: int = DIMENSIONS) -> Iterator[RunningEndpoint]:
    process = subprocess.Popen([sys.executable, str(SERVER), str(dimensions)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield RunningEndpoint(f"http://127.0.0.1:{int(process.stdout.readline())}")
    finally:
        process.kill()
        process.wait()
