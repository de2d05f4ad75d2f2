"""Registering, activating and retiring embedding models.

    register  ->  filling  ->  ready  <->  active        ready, filling  ->  retired
                  (jobs)        (one pointer moves)       (vectors go by jobs)

From the moment a model is registered, whatever is ingested gets a vector of it, so that the jobs which fill it go
through what was there before and through nothing else. A model that was active stays ready, and is kept up, until it
is retired: going back is the same move. Search asks for one model by name and never sees two.

Who registers or retires waits for those who write vectors, and holds off others, until the end of the transaction;
nothing that takes long is done meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import Field

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, LimitExceeded, NotFound
from datalane.kit.clock import utc_now
from datalane.knowledge.models.backfill import begin_backfill, begin_clearing
from datalane.knowledge.models.in_use import searched_model
from datalane.knowledge.models.schemas import Backfill, EmbeddingModel, ModelList, ModelState, ModelTarget, VectorIndex
from datalane.knowledge.models.states import MODEL
from datalane.knowledge.permissions import MANAGE_MODELS, READ_MODELS
from datalane.knowledge.providers import Provider, Providers, version_of

MOST_MODELS = 4
"""Models of a workspace that are not retired: everything that is ingested is embedded by each."""
_RUNNING = {"queued", "processing", "retrying"}
"""States of a job that comes to its end by itself."""

_queries = load_queries(__file__)


async def list_models(tx: Transaction, providers: Providers) -> ModelList:
    """The models of the workspace, and those that this lane has and the workspace has not registered."""
    READ_MODELS.check(tx.context)
    return ModelList(data=await _list(tx, providers))


async def register_model(
    tx: Transaction, providers: Providers, target: ModelTarget, now: datetime | None = None
) -> ModelState:
    """Make vectors by this model too, of what is ingested from now on and, by jobs, of what is there.

    A model that lacks vectors, whatever its state, gets them if its jobs came to an end. Raises `NotFound` for a model
    that this lane does not have, `LimitExceeded` for one too many.
    """
    tx, at, models = await _begin(tx, now)
    provider = _served(providers, target)
    if not models:
        await _put_implicit(tx, providers, at)
        models = await _read(tx)
    known = models.get(target.model_version)
    before = None if known is None else known.status
    if known is not None and before in {"ready", "active"} and not await _is_missing(tx, target):
        return known
    if before in {None, "retired"}:
        in_use = sum(1 for model in models.values() if model.status != "retired")
        if in_use >= MOST_MODELS:
            raise LimitExceeded(f"{in_use} models are in use, the limit is {MOST_MODELS}; retire one first")
        await _queries.lock_models(tx.connection, workspace_id=tx.workspace_id)
        await _put(tx, provider.provider, target.model_version, provider.dimensions, "filling", at)
    if known is None or before == "retired" or known.job_status not in _RUNNING:
        await begin_backfill(tx, target.model_version)
    return await _recorded(tx, "registered", target, before)


async def activate_model(
    tx: Transaction, providers: Providers, target: ModelTarget, now: datetime | None = None
) -> ModelState:
    """Search by this model from the commit on; the one before stays ready.

    Raises `NotFound`, `IllegalTransition` for a model that is not filled, `Conflict` when a chunk lacks its vector.
    """
    tx, at, models = await _begin(tx, now)
    before = _registered(models, target)
    if before.status == "active":
        return before
    MODEL.check(before.status, "active")
    _served(providers, target)
    if await _is_missing(tx, target):
        raise Conflict("chunks lack a vector of the model; register it again to have them made")
    await _queries.demote_active(tx.connection, workspace_id=tx.workspace_id, now=at)
    await _move(tx, target, "active", at)
    return await _recorded(tx, "activated", target, before.status)


async def retire_model(tx: Transaction, target: ModelTarget, now: datetime | None = None) -> ModelState:
    """Make no more vectors by this model; those that are there go by jobs, a while later.

    Raises `NotFound`, `IllegalTransition` for the active one.
    """
    tx, at, models = await _begin(tx, now)
    before = _registered(models, target)
    if before.status != "retired":
        MODEL.check(before.status, "retired")
        await _queries.lock_models(tx.connection, workspace_id=tx.workspace_id)
    elif not await _queries.has_vectors(
        tx.connection, workspace_id=tx.workspace_id, model_version=target.model_version
    ):
        return before
    await _move(tx, target, "retired", at)
    await begin_clearing(tx, target.model_version, at)
    return await _recorded(tx, "retired", target, before.status)


class _Known(ModelState):
    """`job_status` is that of the job that fills the model, if it has not completed."""

    job_status: str | None = Field(exclude=True)


Registered = Mapping[str, _Known]
"""By model."""


async def _begin(tx: Transaction, now: datetime | None) -> tuple[Transaction, datetime, Registered]:
    """What follows, the moment, and the registered models, which nobody else changes until the transaction ends."""
    MANAGE_MODELS.check(tx.context)
    tx = tx.following()
    await _queries.lock_changes(tx.connection, workspace_id=tx.workspace_id)
    return tx, now or utc_now(), await _read(tx)


async def _read(tx: Transaction) -> Registered:
    rows = await _queries.list_models(tx.connection, workspace_id=tx.workspace_id)
    return {row["model_version"]: _Known(**{name: row[name] for name in _Known.model_fields}) for row in rows}


async def _put_implicit(tx: Transaction, providers: Providers, at: datetime) -> None:
    """Name the model that a workspace without any searches by."""
    active = (await searched_model(tx, providers.usual)).model_version
    kind, dimensions = (
        "builtin",
        await _queries.get_dimensions(tx.connection, workspace_id=tx.workspace_id, model_version=active),
    )
    if active in providers:
        provider = providers.get(active)
        kind, dimensions = provider.provider, provider.dimensions
    await _put(tx, kind, active, dimensions, "active", at)


async def _put(tx: Transaction, provider: str, model_version: str, dimensions: int, status: str, at: datetime) -> None:
    name, _, version = model_version.rpartition("/")
    await _queries.put_model(
        tx.connection,
        workspace_id=tx.workspace_id,
        model_version=model_version,
        provider=provider,
        name=name,
        version=version,
        dimensions=dimensions,
        status=status,
        now=at,
        actor_id=tx.context.actor_id,
    )


async def _move(tx: Transaction, target: ModelTarget, status: str, at: datetime) -> None:
    done = await _queries.move_model(
        tx.connection,
        workspace_id=tx.workspace_id,
        model_version=target.model_version,
        sources=[*MODEL.sources(status), *(("retired",) if status == "retired" else ())],
        target=status,
        now=at,
    )
    if done != "UPDATE 1":
        raise Conflict("the model's state changed meanwhile; look again")


async def _is_missing(tx: Transaction, target: ModelTarget) -> bool:
    missing: bool = await _queries.is_missing(
        tx.connection, workspace_id=tx.workspace_id, model_version=target.model_version
    )
    return missing


def _served(providers: Providers, target: ModelTarget) -> Provider:
    if target.model_version not in providers:
        known = ", ".join(sorted(version_of(one) for one in providers))
        raise NotFound(f"this lane has no embedding model {target.model_version}; it has {known}")
    return providers.get(target.model_version)


def _registered(models: Registered, target: ModelTarget) -> _Known:
    if target.model_version not in models:
        raise NotFound("no such embedding model in this workspace; register it first")
    return models[target.model_version]


async def _recorded(tx: Transaction, what: str, target: ModelTarget, before: str | None) -> ModelState:
    after = _registered(await _read(tx), target)
    await record(
        tx,
        f"embedding_model.{what}",
        "embedding_model",
        target.model_version,
        before={"status": before},
        after={"status": after.status},
    )
    return after


@dataclass(frozen=True, slots=True)
class _Stored:
    """What the workspace has of each model."""

    vectors: Mapping[str, int]
    current: int
    indexes: Mapping[str, VectorIndex]

    def of(self, model_version: str) -> dict[str, Any]:
        return {
            "chunks": self.vectors.get(model_version, 0),
            "chunks_in_all": self.current,
            "index": self.indexes.get(model_version),
        }


async def _list(tx: Transaction, providers: Providers) -> list[EmbeddingModel]:
    rows = await _queries.list_models(tx.connection, workspace_id=tx.workspace_id)
    stored = await _read_stored(tx)
    registered = [_model(row, row["model_version"] in providers, stored) for row in rows]
    active = None if registered else (await searched_model(tx, providers.usual)).model_version
    known = {model.model_version for model in registered}
    for provider in providers:
        if version_of(provider) not in known:
            registered.append(_available(provider, active, stored))
    return registered


async def _read_stored(tx: Transaction) -> _Stored:
    counts = await _queries.count_vectors(tx.connection, workspace_id=tx.workspace_id)
    indexes = await _queries.list_indexes(tx.connection, workspace_id=tx.workspace_id)
    return _Stored(
        vectors={row["model_version"]: row["chunks"] for row in counts},
        current=await _queries.count_current(tx.connection, workspace_id=tx.workspace_id),
        indexes={
            row["model_version"]: VectorIndex(**{name: row[name] for name in VectorIndex.model_fields})
            for row in indexes
        },
    )


def _model(row: Any, served: bool, stored: _Stored) -> EmbeddingModel:
    backfill = None
    if row["job_id"] is not None:
        backfill = Backfill(
            job_id=row["job_id"],
            status=row["job_status"],
            attempt_count=row["attempt_count"],
            error_class=row["last_error_class"],
            error_message=row["last_error_message"],
            next_retry_at=row["next_retry_at"],
        )
    said = ("model_version", "provider", "name", "version", "dimensions", "distance", "status", "created_at")
    return EmbeddingModel(
        **{name: row[name] for name in said},
        **stored.of(row["model_version"]),
        updated_at=row["updated_at"],
        served=served,
        backfill=backfill,
    )


def _available(provider: Provider, active: str | None, stored: _Stored) -> EmbeddingModel:
    """A model that is not registered; that of a workspace which registered none is active all the same."""
    version = version_of(provider)
    return EmbeddingModel(
        model_version=version,
        provider=provider.provider,
        name=provider.name,
        version=provider.version,
        dimensions=provider.dimensions,
        distance="cosine",
        status="active" if version == active else "available",
        served=True,
        **stored.of(version),
        backfill=None,
        created_at=None,
        updated_at=None,
    )
