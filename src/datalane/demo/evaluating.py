"""Judged queries asked of a lane, measured and kept as runs.

A dataset in BEIR layout gets a workspace of its own, with its documents in it. In a workspace that is named the
documents are there already, and judgements name them by their `source_uri`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from datalane.contracts.context import Context
from datalane.db.home import Home
from datalane.demo.corpus import Corpus, identity_of, open_corpus
from datalane.demo.ingest import Failed, Ingested, Progress, ingest, working
from datalane.demo.people import Person
from datalane.demo.run import Step
from datalane.demo.search import DEPTH, percentile_ms
from datalane.domains import open_runtime, register_handlers
from datalane.errors import InvalidInput, LimitExceeded, NotFound
from datalane.identity.accounts import sign_up
from datalane.identity.queries import queries as identity
from datalane.identity.schemas import NewAccount
from datalane.identity.workspaces import list_workspaces
from datalane.kit.ids import new_correlation_id
from datalane.kit.measuring import measure_queries
from datalane.knowledge.beir import CORPUS, QUERIES, BeirQuery, find_qrels, read_qrels, read_queries
from datalane.knowledge.confidence.calibrating import FEWEST_QUERIES, Judged
from datalane.knowledge.confidence.schemas import Calibration
from datalane.knowledge.confidence.service import calibrate
from datalane.knowledge.evaluation.schemas import Comparison, EvaluationRun, NewRun, QueryResult
from datalane.knowledge.evaluation.service import compare_runs, get_run, last_run, record_run, versions_of
from datalane.knowledge.feedback.schemas import AnswerThumbs
from datalane.knowledge.feedback.service import thumbs_on_answers
from datalane.knowledge.methods import Method
from datalane.knowledge.retrieval.fusion import KEYWORD_WEIGHT
from datalane.knowledge.retrieval.schemas import Query
from datalane.knowledge.retrieval.service import answer, check_query
from datalane.knowledge.runtime import Knowledge
from datalane.lane import Lane
from datalane.settings import Settings

_BLOCK = 1 << 20
_FOUND = 10
"""Documents of a query that are kept with a run, and learned from."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Queries with a relevant document; `left_out` counts those that have none, and can find none. `corpus` is None
    where the documents are in a workspace already. `sha256` is that of the files'
    bytes, each with its name and length before it."""

    name: str
    sha256: str
    queries: list[BeirQuery]
    judgements: Mapping[str, Mapping[str, int]]
    corpus: Corpus | None
    left_out: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What is evaluated. `workspace_id` None is the dataset's own workspace; `baseline` None compares with the newest
    run of the same method before. With `calibrates`, confidences are told by what the runs found."""

    methods: Sequence[Method]
    keyword_weight: float = KEYWORD_WEIGHT
    workspace_id: UUID | None = None
    baseline: UUID | None = None
    calibrates: bool = False


@dataclass(frozen=True, slots=True)
class Evaluated:
    """`uncalibrated` says why there is no calibration where one was asked for."""

    run: EvaluationRun
    comparison: Comparison | None
    calibration: Calibration | None
    uncalibrated: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The runs of a dataset in a workspace; `failures` are documents that could not be ingested, `left_out` counts
    queries without a relevant document; `answers` is what people in the workspace said of whole answers."""

    workspace_id: UUID
    methods: list[Evaluated]
    failures: list[Failed]
    left_out: int
    answers: list[AnswerThumbs]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {
            "workspace_id": str(self.workspace_id),
            "queries_left_out": self.left_out,
            "answers": [one.model_dump(mode="json") for one in self.answers],
            "documents_failed": [asdict(failure) for failure in self.failures],
            "runs": [
                {
                    "run": one.run.model_dump(mode="json"),
                    "comparison": one.comparison.model_dump(mode="json") if one.comparison is not None else None,
                    "calibration": one.calibration.model_dump(mode="json") if one.calibration is not None else None,
                }
                for one in self.methods
            ],
        }


def read_dataset(folder: Path, title_characters: int, *, with_corpus: bool) -> Dataset:
    """Raises `CorpusMissing` and `CorpusMalformed` naming file and line, `InvalidInput` where no query is judged."""
    judgements, queries = read_qrels(folder), list(read_queries(folder))
    known = [query for query in queries if query.id in judgements]
    judged = [query for query in known if any(grade > 0 for grade in judgements[query.id].values())]
    if not judged:
        raise InvalidInput(f"{folder} judges no document as relevant to one of its queries")
    for query in judged:
        try:
            Query(query=check_query(query.text))
        except (InvalidInput, LimitExceeded, ValidationError) as error:
            raise InvalidInput(f"{folder / QUERIES}: the query {query.id!r} cannot be asked: {error}") from error
    corpus = open_corpus(folder, title_characters) if with_corpus else None
    qrels = find_qrels(folder)
    assert qrels is not None
    files = [folder / QUERIES, qrels, *([folder / CORPUS] if with_corpus else [])]
    kept = {query.id: judgements[query.id] for query in judged}
    return Dataset(folder.resolve().name, _digest(files), judged, kept, corpus, len(known) - len(judged))


def _digest(files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name}:{path.stat().st_size}\n".encode())
        with path.open("rb") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


async def evaluate(settings: Settings, database_url: str, dataset: Dataset, asked: Asked, step: Step) -> Evaluation:
    """A run of each method, kept in the workspace, with what changed since the run it is compared with."""
    if asked.calibrates and len(dataset.queries) < FEWEST_QUERIES:
        raise InvalidInput(
            f"{len(dataset.queries)} judged queries are too few to calibrate by; it takes {FEWEST_QUERIES}"
        )
    lane = Lane()
    async with open_runtime(settings) as runtime, lane.open(settings, database_url):
        register_handlers(lane.handlers, lane.database, runtime)
        knowledge = runtime.knowledge
        context, ingested = await _place(lane, knowledge, dataset, asked, step)
        await _check_baseline(lane, context, dataset, asked)
        found = []
        for method in asked.methods:
            with step(f"asking {len(dataset.queries)} queries, {method}") as progress:
                found.append(await _evaluate(lane, knowledge, context, dataset, asked, method, progress))
        async with lane.transaction(context) as tx:
            answers = await thumbs_on_answers(tx)
        failures = ingested.failures if ingested else []
        return Evaluation(context.workspace_id, found, failures, dataset.left_out, answers)


async def _place(
    lane: Lane, knowledge: Knowledge, dataset: Dataset, asked: Asked, step: Step
) -> tuple[Context, Ingested | None]:
    if asked.workspace_id is not None:
        context = Context.system(asked.workspace_id)
        async with lane.transaction(context) as tx:
            if not any((await versions_of(tx)).values()):
                raise NotFound("the workspace has no documents, or is none of this lane")
        return context, None
    assert dataset.corpus is not None
    person = await _find_person(lane, dataset)
    async with working(lane):
        with step(f"documents of {dataset.name}") as progress:
            ingested = await ingest(lane, knowledge, person, dataset.corpus, progress)
    return person.context(), ingested


async def _check_baseline(lane: Lane, context: Context, dataset: Dataset, asked: Asked) -> None:
    """Before anything is asked: that the run to compare with is of this dataset, and of the one method."""
    if asked.baseline is None:
        return
    async with lane.transaction(context) as tx:
        baseline = (await get_run(tx, asked.baseline)).run
    if baseline.dataset_sha256 != dataset.sha256:
        raise InvalidInput(f"run {asked.baseline} is of another dataset, {baseline.dataset}")
    if list(asked.methods) != [baseline.method]:
        raise InvalidInput(
            f"run {asked.baseline} is of the method {baseline.method}; ask with --method {baseline.method}"
        )


async def _find_person(lane: Lane, dataset: Dataset) -> Person:
    """The owner of the dataset's workspace, made at its first evaluation from this home folder. The address cannot be
    guessed: whoever had it before would own the workspace that the documents come into."""
    key = Home(lane.settings.home).secret("evaluation_key").encode()
    email = f"evaluation-{hmac.new(key, dataset.sha256.encode(), 'sha256').hexdigest()[:32]}@example.com"
    async with lane.database.sign_in_door() as tx:
        known = await identity.find_login(tx.connection, email=email)
        if known is not None:
            [workspace, *_] = await list_workspaces(tx, known["user_id"])
            return Person(known["user_id"], workspace.workspace_id, token="")
    account = NewAccount(
        email=email,
        password=secrets.token_urlsafe(24),
        name="Evaluation",
        workspace_name=f"Evaluation of {dataset.name}"[:100],
    )
    made = await sign_up(lane.database, account, sessions=lane.settings.sessions, correlation_id=new_correlation_id())
    assert made.workspace_id is not None
    return Person(made.user_id, made.workspace_id, made.token)


async def _evaluate(
    lane: Lane,
    knowledge: Knowledge,
    context: Context,
    dataset: Dataset,
    asked: Asked,
    method: Method,
    progress: Progress,
) -> Evaluated:
    seconds: list[float] = []
    ranking: dict[str, dict[str, float]] = {}
    models: set[str] = set()
    for number, query in enumerate(dataset.queries, 1):
        said = Query(query=query.text, method=method, limit=DEPTH, keyword_weight=asked.keyword_weight)
        began = time.perf_counter()
        answered = await answer(
            lane.transaction, context, knowledge.providers, said, lane.settings.limits, logged=False
        )
        seconds.append(time.perf_counter() - began)
        best = ranking.setdefault(query.id, {})
        for result in answered.data:
            models.add(result.embedding_model_version)
            known = result.source_uri or str(result.document_id)
            best.setdefault(known if dataset.corpus is None else identity_of(known), result.retrieval_score)
        progress(number, len(dataset.queries))
    measures = measure_queries(dataset.judgements, ranking)
    weight = {"keyword_weight": str(asked.keyword_weight)} if method is Method.HYBRID else {}
    async with lane.transaction(context) as tx:
        baseline = asked.baseline or await last_run(tx, dataset.sha256, method)
        run = await record_run(
            tx,
            NewRun(
                dataset=dataset.name,
                dataset_sha256=dataset.sha256,
                method=method,
                keyword_weight=asked.keyword_weight if method is Method.HYBRID else None,
                versions={
                    **await versions_of(tx),
                    "embedding_model": ", ".join(sorted(models)),
                    "datalane": version("datalane"),
                    **weight,
                },
                p95_ms=percentile_ms(seconds, 95) or 0.0,
                results=[_result(key, measures[key], ranking[key]) for key in ranking],
            ),
        )
        comparison = None if baseline is None else await compare_runs(tx, run.run_id, baseline)
    if not asked.calibrates:
        return Evaluated(run, comparison, None)
    try:
        async with lane.transaction(context) as tx:
            return Evaluated(run, comparison, await calibrate(tx, run.run_id, _judged(dataset, ranking)))
    except InvalidInput as error:
        return Evaluated(run, comparison, None, str(error))


def _judged(dataset: Dataset, ranking: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """The best results of each query, of which answers are made; what nobody judged counts as not relevant."""
    return [
        Judged(query_id, found[document], dataset.judgements[query_id].get(document, 0) > 0)
        for query_id, found in ranking.items()
        for document in _best(found)
    ]


def _result(query_id: str, measures: dict[str, float], found: Mapping[str, float]) -> QueryResult:
    return QueryResult(query_id=query_id, measures=measures, found=_best(found))


def _best(found: Mapping[str, float]) -> list[str]:
    return sorted(found, key=lambda document: (found[document], document), reverse=True)[:_FOUND]
