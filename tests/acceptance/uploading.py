"""A client that uploads documents as a careful one does: an answer that was lost is asked for again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import httpx

_RETRY_SECONDS = 0.05
_WORDS = (
    *("tenant", "wall", "lane", "event", "ledger", "worker", "lease", "fence", "chunk", "vector", "posting", "kill"),
    *("citation", "corpus", "supervisor", "recovery", "moment", "history", "partition", "cursor", "audit", "the", "of"),
    *("naïve", "Größe", "café", "数据", "🙂", "e\u0301tude"),
)


@dataclass(frozen=True)
class Paper:
    """A document to upload. `error_class` is how it must fail; `after` names the paper that it is a new version of.

    A paper without a `key` relies on its source alone: the same bytes of the same source are one document.
    """

    name: str
    data: bytes
    title: str | None = None
    key: str | None = None
    error_class: str | None = None
    after: str | None = None


@dataclass(frozen=True)
class Acknowledged:
    """The answer to an upload, and when it was asked for (monotonic seconds)."""

    paper: Paper
    document_id: str
    version_id: str
    job_id: str | None
    asked_at: float
    answered_at: float


def write_papers(chosen: Random, count: int) -> list[Paper]:
    """`count` documents, no two alike: most good ones of 1 to 6 chunks, some empty or broken, some new versions."""
    papers: list[Paper] = []
    for number in range(count):
        name = f"paper-{number}.txt"
        key = f"upload-{number}" if chosen.random() < 0.5 else None
        title = f"Paper {number}" if chosen.random() < 0.5 else None
        if number % 25 == 7:
            papers.append(Paper(name, b"", title, key or f"upload-{number}", "empty_file"))
        elif number % 25 == 13:
            papers.append(Paper(name, f"bad {number} ".encode() + b"\xff\xfe\xfa", title, key, "undecodable_text"))
        else:
            after = chosen.choice(papers) if number % 10 == 9 else None
            earlier = after.name if after and not after.error_class and not after.after else None
            taken = {paper.after for paper in papers}
            earlier = None if earlier in taken else earlier
            papers.append(Paper(name, _prose(chosen, number), title, key, after=earlier))
    return papers


def _prose(chosen: Random, number: int) -> bytes:
    ending = chosen.choice(("\n", "\r\n"))
    paragraphs = [
        " ".join(chosen.choices(_WORDS, k=chosen.randint(20, 150))) + "." for _ in range(chosen.randint(1, 8))
    ]
    return f"Number {number}{ending}{(ending * 2).join(paragraphs)}{ending}".encode()


class Uploading:
    """Uploads papers in `threads` threads. An answer that a client should never get is kept in `wrong` and ends it."""

    def __init__(self, url: str, token: str, papers: Sequence[Paper], threads: int = 3) -> None:
        self.acknowledged: dict[str, Acknowledged] = {}
        self.wrong: list[str] = []
        self.refused: dict[str, int] = {}
        """How often each kind of answer, or none, made the client ask again."""
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._waiting: queue.SimpleQueue[Paper] = queue.SimpleQueue()
        for paper in papers:
            self._waiting.put(paper)
        self._leaving = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def done(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        self._leaving.set()
        for thread in self._threads:
            thread.join()

    def ask_again(self) -> None:
        """The uploads with a key once more, as by a client that forgot its answers, which must be the same."""
        with httpx.Client(timeout=10) as client:
            for name, first in self.acknowledged.items():
                again = self._upload(client, first.paper) if first.paper.key else first
                assert again is not None, self.wrong
                assert again.version_id == first.version_id, f"{name}: {first}, then {again}"

    def _work(self) -> None:
        with httpx.Client(timeout=10) as client:
            while not self._leaving.is_set():
                try:
                    paper = self._waiting.get_nowait()
                except queue.Empty:
                    return
                if paper.after is not None and paper.after not in self.acknowledged:
                    self._waiting.put(paper)
                    self._leaving.wait(_RETRY_SECONDS)
                    continue
                answer = self._upload(client, paper)
                if answer is not None:
                    self.acknowledged[paper.name] = answer

    def _upload(self, client: httpx.Client, paper: Paper) -> Acknowledged | None:
        while not self._leaving.is_set():
            asked_at = time.monotonic()
            try:
                response = self._post(client, paper)
            except httpx.TransportError as error:
                self._count(type(error).__name__)
                self._leaving.wait(_RETRY_SECONDS)
                continue
            if response.is_success:
                said = response.json()
                ids = (said["document_id"], said["version_id"], said["job_id"])
                return Acknowledged(paper, *ids, asked_at, time.monotonic())
            if not _says_try_again(response):
                self.wrong.append(f"{paper.name}: {response.status_code} {response.text[:300]}")
                self._leaving.set()
                return None
            self._count(str(response.status_code))
            self._leaving.wait(_RETRY_SECONDS)
        return None

    def _post(self, client: httpx.Client, paper: Paper) -> httpx.Response:
        headers = self._headers | ({"Idempotency-Key": paper.key} if paper.key else {})
        fields = {"source_uri": f"https://example.com/{paper.name}"}
        if paper.title is not None:
            fields["title"] = paper.title
        if paper.after is not None:
            fields["document_id"] = self.acknowledged[paper.after].document_id
        file = {"file": (paper.name, paper.data, "text/plain")}
        return client.post(f"{self._url}/documents/upload", data=fields, files=file, headers=headers)

    def _count(self, reason: str) -> None:
        self.refused[reason] = self.refused.get(reason, 0) + 1


def _says_try_again(response: httpx.Response) -> bool:
    """Whether the answer is one of those that promise that asking again is right."""
    if response.headers.get("content-type") != "application/problem+json":
        return False
    code = response.json()["code"]
    return (response.status_code, code) in {(503, "database_unavailable"), (409, "request_in_flight")}
