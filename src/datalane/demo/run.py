"""The whole demo: two workspaces, a corpus in each, queries, citations, and the wall between them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from datalane.demo.assisting import Assisted, ask_the_assistant
from datalane.demo.corpus import Corpus, other_corpus
from datalane.demo.evidence import Checked, cite_and_check
from datalane.demo.ingest import Ingested, Progress, ingest, working
from datalane.demo.isolation import Isolation, try_the_wall
from datalane.demo.people import make_person
from datalane.demo.scratch import Place
from datalane.demo.search import Quality, Run, judge, percentile_ms, run_queries
from datalane.domains import open_runtime, register_handlers
from datalane.knowledge.methods import Method
from datalane.lane import Lane

Step = Callable[[str], AbstractContextManager[Progress]]
"""Told what begins; answers a place to report progress to."""


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured. Times are in seconds unless a name says otherwise."""

    corpus: str
    ingested: Ingested
    other: Ingested
    queries: int
    runs: dict[Method, Run]
    quality: dict[Method, Quality]
    checked: Checked
    isolation: Isolation
    assisted: Assisted

    @property
    def holds(self) -> bool:
        """Whether nothing that must not happen has happened; speed and quality are for the reader to judge."""
        return self.checked.failed == 0 and self.isolation.holds and self.assisted.holds

    def as_dict(self) -> dict[str, Any]:
        seconds = [second for run in self.runs.values() for second in run.seconds]
        return {
            "corpus": self.corpus,
            "documents": self.ingested.documents,
            "documents_searchable": self.ingested.searchable,
            "documents_failed": len(self.ingested.failures),
            "failures": [asdict(failure) for failure in self.ingested.failures],
            "documents_per_second": round(self.ingested.documents / self.ingested.seconds, 1),
            "ingest_seconds": round(self.ingested.seconds, 3),
            "chunks": self.ingested.chunks,
            "other_documents": self.other.documents,
            "queries": self.queries,
            "query_p50_ms": percentile_ms(seconds, 50),
            "query_p95_ms": percentile_ms(seconds, 95),
            "methods": {method.value: self._method(method) for method in self.runs},
            "responses": self.checked.responses,
            "citations_checked": self.checked.citations,
            "citations_failed": self.checked.failed,
            "assistant_questions": self.assisted.questions,
            "assistant_answered": self.assisted.answered,
            "assistant_sentences": self.assisted.sentences,
            "assistant_citation_presence": round(self.assisted.presence, 4),
            "assistant_conformance": round(self.assisted.conformance, 4),
            "assistant_cost_usd": f"{self.assisted.cost_of_runs.normalize():f}",
            "assistant_costs_reconcile": self.assisted.reconciles,
            "foreign_rows_attempts": self.isolation.attempts,
            "foreign_rows": self.isolation.foreign_rows,
            "foreign_writes": self.isolation.foreign_writes,
            "not_found_differences": self.isolation.differences,
            "isolation_control_rows": self.isolation.control_rows,
            "server_errors": self.isolation.broken,
        }

    def _method(self, method: Method) -> dict[str, float | None]:
        run = self.runs[method]
        return {
            **asdict(self.quality[method]),
            "p50_ms": percentile_ms(run.seconds, 50),
            "p95_ms": percentile_ms(run.seconds, 95),
        }


async def run_demo(place: Place, corpus: Corpus, step: Step) -> Report:
    """Raises whatever goes wrong on the way; what was written in a scratch place goes with it."""
    lane = Lane()
    async with open_runtime(place.settings) as runtime, lane.open(place.settings, place.database_url):
        register_handlers(lane.handlers, lane.database, runtime)
        knowledge = runtime.knowledge
        await knowledge.pool.start()
        first, second = await make_person(lane, "first"), await make_person(lane, "second")
        async with working(lane):
            with step(f"ingesting {corpus.name}") as progress:
                ingested = await ingest(lane, knowledge, first, corpus, progress)
            with step("ingesting other documents into a second workspace") as progress:
                other = await ingest(lane, knowledge, second, other_corpus(), progress)
        with step(f"asking {len(corpus.queries)} queries by three methods"):
            runs = await run_queries(lane, knowledge, first, corpus)
        quality = {method: judge(run, corpus.judgements) for method, run in runs.items()}
        with step("citing and checking"):
            checked = await cite_and_check(lane, first, corpus, runs[Method.HYBRID])
        with step("asking the built-in agent"):
            assisted = await ask_the_assistant(lane, runtime.agents.assistant, first, corpus)
        with step("trying to look over the wall"):
            questions = [query.text for query in corpus.queries]
            isolation = await try_the_wall(lane, runtime, first, second, questions)
    return Report(corpus.name, ingested, other, len(corpus.queries), runs, quality, checked, isolation, assisted)
