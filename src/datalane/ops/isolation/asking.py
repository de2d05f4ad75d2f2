"""Sending a request to the application in this process, and what came of it: answer, statements, changed rows."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from datalane.ops.isolation.ledger import Change, Ledger
from datalane.ops.isolation.route_table import Call, Route
from datalane.ops.isolation.wire import Statement, Wire

UUID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.]*(?:Z|[+-]\d\d:?\d\d)")
_SECRET = re.compile(r"(?<![\w-])(?:whsec_[\w+/]+=*|[\w-]{43,})(?![\w-])")
"""API keys, tokens of sessions and cursors: nothing else is as long without a space; and secrets of webhooks."""
_DIFFERS = frozenset({"correlation_id", "latency_ms"})


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]
    request: str
    statements: tuple[Statement, ...]
    changes: frozenset[Change]

    @property
    def worked(self) -> bool:
        return 200 <= self.status < 300

    @property
    def opened_a_transaction(self) -> bool:
        return any(statement.sql.lstrip().upper().startswith("BEGIN") for statement in self.statements)

    @property
    def told(self) -> tuple[int, Any]:
        """Status and body without what differs between any two requests: ids, times, how long it took, secrets."""
        try:
            body = json.loads(self.text) if self.text else None
        except ValueError:
            body = self.text
        return self.status, _plain(body)

    def shows(self, ids: Collection[str], words: Collection[str]) -> list[str]:
        """Which of these ids and words are in the answer though the request did not hold them."""
        everything = self.text + json.dumps(dict(self.headers))
        seen = {_dashed(found) for found in UUID.findall(everything)}
        sent = {_dashed(found) for found in UUID.findall(self.request)}
        found = sorted((seen - sent) & set(ids))
        return found + sorted(word for word in words if word in everything and word not in self.request)

    def __str__(self) -> str:
        return f"{self.status} {self.text[:160]}"


@dataclass
class Asker:
    client: httpx.AsyncClient
    ledger: Ledger
    wire: Wire

    async def ask(self, route: Route, call: Call, headers: Mapping[str, str]) -> Answer:
        """Send it, look at what changed, and put that back."""
        answer = await self.send(route, call, headers)
        await self.ledger.restore(answer.changes)
        return answer

    async def send(self, route: Route, call: Call, headers: Mapping[str, str]) -> Answer:
        path = route.path
        for name, value in call.path.items():
            path = path.replace("{" + name + "}", quote(value, safe=""))
        files = {"file": ("note.txt", call.file, "text/plain")} if call.file is not None else None
        request = self.client.build_request(
            route.method,
            path,
            params=dict(call.query) or None,
            json=call.body,
            data=dict(call.form) or None,
            files=files,
            headers={**headers, **call.headers},
        )
        self.wire.clear()
        response = await self.client.send(request)
        return Answer(
            response.status_code,
            response.text,
            {key: value for key, value in response.headers.items() if key != "x-correlation-id"},
            f"{request.url} {json.dumps(call.body)} {json.dumps(dict(call.form))} {json.dumps(dict(headers))}",
            tuple(self.wire.sent),
            await self.ledger.changes(),
        )


@asynccontextmanager
async def asking(app: Any, ledger: Ledger, wire: Wire) -> AsyncIterator[Asker]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://lane") as client:
        yield Asker(client, ledger, wire)


def _dashed(found: str) -> str:
    plain = found.replace("-", "")
    return "-".join((plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items() if key not in _DIFFERS}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str):
        return _TIME.sub("<time>", UUID.sub("<id>", _SECRET.sub("<secret>", value)))
    return value
