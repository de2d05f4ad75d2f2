"""Models: registered, read and listed. The same provider, model and revision is the same version."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.agents.permissions import READ_VERSIONS, REGISTER_VERSIONS
from datalane.agents.versions.schemas import AgentModel, AgentModelPage, NewAgentModel, RegisteredAgentModel
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

_queries = load_queries(__file__, "models.sql")


async def register_model(tx: Transaction, new: NewAgentModel, now: datetime | None = None) -> RegisteredAgentModel:
    """The version of this revision, which is made if it is not there. Of two at once, one makes it."""
    REGISTER_VERSIONS.check(tx.context)
    tx = tx.following()
    known = await _find(tx, new)
    if known is not None:
        return RegisteredAgentModel(**known.model_dump(), created=False)
    done = await _queries.add_model(
        tx.connection,
        workspace_id=tx.workspace_id,
        model_version_id=uuid7(),
        **new.model_dump(),
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    model, created = await _find(tx, new), done == "INSERT 0 1"
    assert model is not None, "it is there, or whoever added it was waited for"
    if created:
        await record(tx, "agent_model.registered", "agent_model", model.model_version_id, after=new.model_dump())
    return RegisteredAgentModel(**model.model_dump(), created=created)


async def get_model(tx: Transaction, model_version_id: UUID) -> AgentModel:
    """Raises `NotFound`."""
    READ_VERSIONS.check(tx.context)
    row = await _queries.get_model(tx.connection, workspace_id=tx.workspace_id, model_version_id=model_version_id)
    if row is None:
        raise NotFound("no such version of a model")
    return AgentModel(**row)


async def list_models(
    tx: Transaction,
    provider: str | None = None,
    model: str | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> AgentModelPage:
    """Versions, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_VERSIONS.check(tx.context)
    listing = f"agent models:{[provider, model]}"
    rows = await _queries.list_models(
        tx.connection,
        workspace_id=tx.workspace_id,
        provider=provider,
        model=model,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["model_version_id"]])
    return AgentModelPage(data=[AgentModel(**row) for row in page], page_size=page_size, next_cursor=following)


async def _find(tx: Transaction, new: NewAgentModel) -> AgentModel | None:
    row = await _queries.find_model(tx.connection, workspace_id=tx.workspace_id, **new.model_dump())
    return None if row is None else AgentModel(**row)
