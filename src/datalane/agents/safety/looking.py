"""Reading what moderation decided."""

from __future__ import annotations

from uuid import UUID

from datalane.agents.permissions import READ_RUNS
from datalane.agents.safety.moderator import Outcome
from datalane.agents.safety.schemas import AgentModeration, AgentModerationPage
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction

_queries = load_queries(__file__)


async def list_moderations(
    tx: Transaction,
    run_id: UUID | None = None,
    outcome: Outcome | None = None,
    cursor: str | None = None,
    page_size: int = 25,
) -> AgentModerationPage:
    """Judgements, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_RUNS.check(tx.context)
    listing = f"agent moderations:{run_id}:{outcome}"
    rows = await _queries.list_moderations(
        tx.connection,
        workspace_id=tx.workspace_id,
        run_id=run_id,
        outcome=outcome,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["moderation_id"]])
    return AgentModerationPage(
        data=[AgentModeration(**row) for row in page], page_size=page_size, next_cursor=following
    )
