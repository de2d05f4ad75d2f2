"""Server-sent events as bytes. Source: https://html.spec.whatwg.org/multipage/server-sent-events.html

Each function makes one whole block, so that a stream may be cut between any two.
"""

from __future__ import annotations

import json

MEDIA_TYPE = "text/event-stream"


def event(name: str, data: str, position: str | None = None) -> bytes:
    """An event. `data` is one line; `position` is what the client says as `Last-Event-ID` when it comes again."""
    return _block([("id", position)] if position else [], ("event", name), ("data", data))


def place(position: str, retry_ms: int | None = None) -> bytes:
    """Where the stream has come, without an event: whoever comes again begins here, after `retry_ms`."""
    return _block([("retry", str(retry_ms))] if retry_ms is not None else [], ("id", position))


def end(reason: str, position: str | None = None) -> bytes:
    """The last event of a stream that the server ends."""
    return event("end", json.dumps({"reason": reason}), position)


def heartbeat(position: str) -> bytes:
    """A comment, which keeps connections open, with where the stream has come."""
    return b": heartbeat\n" + place(position)


def _block(first: list[tuple[str, str]], *others: tuple[str, str]) -> bytes:
    fields = [*first, *others]
    if any("\n" in value or "\r" in value for _, value in fields):
        raise ValueError("a field of a server-sent event is one line")
    return "".join([*(f"{name}: {value}\n" for name, value in fields), "\n"]).encode()
