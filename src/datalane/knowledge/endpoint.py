"""Embeddings from an endpoint that speaks OpenAI's protocol (`POST …/embeddings`, "Create embeddings").

What comes back is believed only as far as it can be checked: as many vectors as texts, each index once, the model's
dimensions, finite numbers, a length. Being told to wait (429) is passed on to the workspace that asked and to no other.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx

from datalane.errors import RateLimited
from datalane.kit.clock import utc_now
from datalane.kit.net import is_loopback
from datalane.knowledge.providers import EmbeddingFailed, EmbeddingRefused
from datalane.settings import EmbeddingEndpoint

if TYPE_CHECKING:
    from datalane.knowledge.embeddings import Vectors

_BYTES_PER_NUMBER = 32
_BYTES_BESIDE = 65_536
_WAIT, _LONGEST_WAIT = 1.0, 3_600.0
"""Seconds."""
_MOST_DOUBLINGS = 12
_EXCERPT = 200
_FINAL = {400, 413, 422}
"""Statuses that say that these very texts will not do."""
_AGAIN = 30.0
"""Seconds until an endpoint that failed is asked again."""
_PATIENCE = 20.0
"""Seconds that a call waits for one of its requests, when it has had an answer to another."""
_MOST_PACES = 10_000
_MOST_KEPT = 50_000


class Endpoint:
    """One model behind one endpoint."""

    provider = "openai"

    def __init__(self, settings: EmbeddingEndpoint, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._paces: dict[UUID, _Pace] = {}

    @property
    def name(self) -> str:
        return f"{self._settings.name}:{self._settings.model}"

    @property
    def version(self) -> str:
        return f"{self.dimensions}-{self._settings.version}"

    @property
    def dimensions(self) -> int:
        return self._settings.dimensions

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    @property
    def batch(self) -> int:
        return self._settings.batch

    def check(self, workspace_id: UUID) -> None:
        """Raises `RateLimited` when this workspace has to wait."""
        self._pace(workspace_id).check(self._clock())

    async def embed(self, workspace_id: UUID, texts: Sequence[str]) -> Vectors:
        """One request for each batch of texts, which are cut to the settings' `text_characters`.

        Who is told to wait between two batches does so, if not for long. What is done when the call ends before its end
        is kept for the workspace's next call, so that however few requests are allowed, all texts get their turn.
        Raises as `Provider.embed`.
        """
        import numpy as np

        pace, cut = self._pace(workspace_id), [text[: self._settings.text_characters] for text in texts]
        keys = [sha256(text.encode("utf-8", "surrogatepass")).digest() for text in cut]
        rows = pace.take_kept(keys)
        missing = {key: place for place, key in enumerate(keys) if key not in rows}
        batches = list(_batches(list(missing.values()), cut, self._settings.batch, self._settings.batch_characters))
        try:
            pace.take(len(batches), self._clock())
            for batch in batches:
                body = await self._ask_patiently([cut[place] for place in batch], pace, begun=batch is not batches[0])
                rows |= zip((keys[place] for place in batch), self._checked(body, len(batch)), strict=True)
        except BaseException:
            pace.keep(rows)
            raise
        return np.stack([rows[key] for key in keys]) if keys else np.empty((0, self.dimensions), dtype=np.float32)

    async def _ask_patiently(self, texts: Sequence[str], pace: _Pace, *, begun: bool) -> bytes:
        patience = _PATIENCE if begun else 0.0
        while True:
            try:
                return await self._ask(texts, pace)
            except RateLimited as told:
                if told.retry_after > patience:
                    raise
                patience -= told.retry_after
                await asyncio.sleep(told.retry_after)

    def _pace(self, workspace_id: UUID) -> _Pace:
        if workspace_id not in self._paces:
            if len(self._paces) >= _MOST_PACES:
                now = self._clock()
                self._paces = {key: pace for key, pace in self._paces.items() if pace.is_behind(now)}
            self._paces[workspace_id] = _Pace(self._settings)
        return self._paces[workspace_id]

    async def _ask(self, texts: Sequence[str], pace: _Pace) -> bytes:
        said: dict[str, Any] = {"model": self._settings.model, "input": list(texts), "encoding_format": "float"}
        if self._settings.send_dimensions:
            said["dimensions"] = self.dimensions
        try:
            async with (
                asyncio.timeout(self._settings.timeout.total_seconds()),
                self._connected().stream("POST", self._settings.embeddings_url, json=said) as answer,
            ):
                most = len(texts) * self.dimensions * _BYTES_PER_NUMBER + _BYTES_BESIDE
                body = await _read(answer, most)
                self._require_success(answer, body, pace)
                pace.answered()
                return body
        except (httpx.HTTPError, TimeoutError) as error:
            raise self._failed(f"it does not answer ({type(error).__name__})") from error
        finally:
            if self._client is not None:
                self._client.cookies.clear()

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            key, url = self._settings.api_key, self._settings.url
            self._client = httpx.AsyncClient(
                headers={
                    "Accept-Encoding": "identity",
                    **({"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}),
                },
                follow_redirects=False,
                trust_env=not is_loopback(url),
                timeout=self._settings.timeout.total_seconds(),
            )
        return self._client

    def _require_success(self, answer: httpx.Response, body: bytes, pace: _Pace) -> None:
        status = answer.status_code
        if status == httpx.codes.OK:
            return
        if status == httpx.codes.TOO_MANY_REQUESTS:
            wait = pace.told_to_wait(_seconds(answer.headers.get("retry-after")), self._clock())
            raise RateLimited(f"the embedding endpoint {self._settings.name} asks to wait", wait)
        key, text = self._settings.api_key, body[:_BYTES_BESIDE].decode("utf-8", "replace")
        if key is not None:
            text = text.replace(key.get_secret_value(), "***")
        said = f"it answered {status}: {' '.join(text.split())[:_EXCERPT]}"
        raise self._refused(said) if status in _FINAL else self._failed(said)

    def _checked(self, body: bytes, texts: int) -> Vectors:
        """The vectors in the order of the texts, brought to length 1."""
        import numpy as np

        try:
            rows = json.loads(body)["data"]
            by_index = {row["index"]: row["embedding"] for row in rows}
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._failed("its answer is not that of the protocol") from error
        if len(rows) != texts or set(by_index) != set(range(texts)):
            raise self._failed(f"it answered {len(rows)} vectors for {texts} texts")
        try:
            vectors = np.asarray([by_index[place] for place in range(texts)], dtype=np.float64)
        except (ValueError, TypeError, OverflowError) as error:
            raise self._refused("its vectors are not rows of numbers of one length") from error
        if vectors.shape != (texts, self.dimensions):
            found = vectors.shape[1] if vectors.ndim == 2 else "no"
            raise self._refused(f"its vectors have {found} dimensions, not {self.dimensions}")
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(vectors).all() or not np.isfinite(norms).all() or not norms.all():
            raise self._refused("a vector of it is not finite, or has no direction")
        unit: Vectors = (vectors / norms).astype(np.float32)
        return unit

    def _failed(self, what: str) -> EmbeddingFailed:
        return EmbeddingFailed(f"the embedding endpoint {self._settings.name}: {what}", _AGAIN)

    def _refused(self, what: str) -> EmbeddingRefused:
        return EmbeddingRefused(f"the embedding endpoint {self._settings.name}: {what}")


class _Pace:
    """When one workspace may ask again: after what the endpoint said, and within the rate of the settings."""

    def __init__(self, settings: EmbeddingEndpoint) -> None:
        self._name, self._rate = settings.name, settings.rate
        self._until = 0.0
        self._refusals = 0
        self._full_at = 0.0
        """When the whole burst is there again, if nothing is asked until then."""
        self._kept: dict[bytes, Any] = {}
        """Vectors of calls that ended early, by the digest of their text."""

    def check(self, now: float) -> None:
        """Raises `RateLimited` when it is too early to ask."""
        wait = self._until - now
        if self._rate is not None:
            pause = self._rate.pause.total_seconds()
            wait = max(wait, max(self._full_at, now) + pause - now - self._rate.burst * pause)
        if wait > 0:
            raise RateLimited(f"this workspace asks the embedding endpoint {self._name} too often", wait)

    def take(self, requests: int, now: float) -> None:
        """Count requests that belong together: more than the rate has left are paid for afterwards, by waiting longer.

        Raises as `check`.
        """
        self.check(now)
        if self._rate is not None:
            self._full_at = max(self._full_at, now) + requests * self._rate.pause.total_seconds()

    def take_kept(self, keys: Sequence[bytes]) -> dict[bytes, Any]:
        """Those of these texts' vectors that are kept, which are the caller's from now on."""
        return {key: self._kept.pop(key) for key in dict.fromkeys(keys) if key in self._kept}

    def keep(self, rows: Mapping[bytes, Any]) -> None:
        """Vectors for a later call. What no call came back for goes when there is too much of it."""
        if len(self._kept) + len(rows) > _MOST_KEPT:
            self._kept.clear()
        self._kept.update(rows)

    def is_behind(self, now: float) -> bool:
        return bool(self._kept) or max(self._until, self._full_at) > now

    def told_to_wait(self, seconds: float | None, now: float) -> float:
        """The time to wait: what was said, else twice as long each time."""
        wait = min(_WAIT * 2**self._refusals if seconds is None else max(seconds, _WAIT), _LONGEST_WAIT)
        self._refusals = min(self._refusals + 1, _MOST_DOUBLINGS)
        self._until = max(self._until, now + wait)
        return wait

    def answered(self) -> None:
        self._refusals = 0


def _batches(places: Sequence[int], texts: Sequence[str], most: int, characters: int) -> Iterator[Sequence[int]]:
    batch, size = list[int](), 0
    for place in places:
        if batch and (size + len(texts[place]) > characters or len(batch) == most):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += len(texts[place])
    if batch:
        yield batch


async def _read(answer: httpx.Response, most: int) -> bytes:
    """The bytes as they come: what is compressed may be any size, and was not asked for."""
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise httpx.DecodingError("the answer is compressed")
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > most:
            raise httpx.DecodingError(f"the answer is over {most} bytes")
    return bytes(body)


def _seconds(retry_after: str | None) -> float | None:
    """What a Retry-After header says: seconds, or a date (RFC 9110, 10.2.3); None when it says nothing readable."""
    if retry_after is None:
        return None
    if retry_after.strip().isdecimal():
        return float(retry_after)
    try:
        at: datetime = parsedate_to_datetime(retry_after)
        return (at.replace(tzinfo=at.tzinfo or UTC) - utc_now()).total_seconds()
    except (ValueError, OverflowError):
        return None
