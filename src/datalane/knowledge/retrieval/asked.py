"""The log of what was asked: a row and two metrics for each retrieval through the service."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import version

from prometheus_client import Counter, Histogram

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.knowledge.methods import Method
from datalane.knowledge.permissions import QUERY
from datalane.knowledge.retrieval.schemas import Answer, AskedQueries, AskedQuery, Query

RETRIEVALS = Counter(
    "datalane_retrievals_total",
    "Retrievals through the service, by method and outcome: found or missed",
    ["method", "outcome"],
)
RETRIEVAL_SECONDS = Histogram(
    "datalane_retrieval_seconds",
    "Time a retrieval took, with the vector of an endpoint if one was asked",
    ["method"],
    buckets=(0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class Decided:
    """What decided an answer beside the query: the language of words, and the model whose vectors were searched."""

    language: str
    model: str | None


def is_miss(answer: Answer) -> bool:
    """Whether nothing was found, or none of the words by a method that looks for them."""
    return not answer.data or answer.keyword_terms_found is False


@cache
def _release() -> str:
    return version("datalane")


async def log_retrieval(
    tx: Transaction, query: Query, text: str, answer: Answer, decided: Decided, seconds: float
) -> None:
    """Keep what was asked in `tx`, whose commit then does not wait for the disk: what a crash forgets is a line of a
    log, so it must write nothing else."""
    missed = is_miss(answer)
    await _queries.log_retrieval(
        tx.connection,
        question=text,
        method=query.method.value,
        filtered=query.filters is not None,
        results=len(answer.data),
        best_score=answer.data[0].retrieval_score if answer.data else None,
        missed=missed,
        model=decided.model,
        milliseconds=round(seconds * 1000, 3),
        language=None if query.method is Method.SEMANTIC else decided.language,
        keyword_weight=query.keyword_weight if query.method is Method.HYBRID else None,
        calibration_id=answer.calibration_id,
        release=_release(),
    )

    tx.close_with("SET LOCAL synchronous_commit = off")

    def count() -> None:
        RETRIEVALS.labels(query.method.value, "missed" if missed else "found").inc()
        RETRIEVAL_SECONDS.labels(query.method.value).observe(seconds)

    tx.after_commit(count)


async def list_asked(
    tx: Transaction, missed: bool | None = None, cursor: str | None = None, page_size: int = 25
) -> AskedQueries:
    """What was asked, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    QUERY.check(tx.context)
    listing = f"asked:{missed}"
    before = tx.read_id_cursor(listing, cursor)
    rows = await _queries.list_log(
        tx.connection, workspace_id=tx.workspace_id, missed=missed, before=before, page_size=page_size + 1
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["query_id"]])
    return AskedQueries(data=[AskedQuery(**row) for row in page], page_size=page_size, next_cursor=following)
