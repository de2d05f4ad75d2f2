"""Prompts: registered under a name, read and listed. The same template under the same name is the same version."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.agents.permissions import READ_VERSIONS, REGISTER_VERSIONS
from datalane.agents.versions.schemas import NewPrompt, Prompt, PromptPage, PromptWithTemplate, RegisteredPrompt
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

_queries = load_queries(__file__, "prompts.sql")


async def register_prompt(tx: Transaction, new: NewPrompt, now: datetime | None = None) -> RegisteredPrompt:
    """The version of this template, which is made if it is not there. Of two at once with one template, one makes it.

    Raises `Conflict` when raw SQL took the number meanwhile.
    """
    REGISTER_VERSIONS.check(tx.context)
    tx = tx.following()
    known = await _find(tx, new)
    if known is not None:
        return RegisteredPrompt(**known.model_dump(), created=False)
    await _queries.lock_name(tx.connection, workspace_id=tx.workspace_id, name=new.name)
    done = await _queries.add_prompt(
        tx.connection,
        workspace_id=tx.workspace_id,
        prompt_version_id=uuid7(),
        name=new.name,
        template=new.template,
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    prompt, created = await _find(tx, new), done == "INSERT 0 1"
    if prompt is None:
        raise Conflict("another version of the prompt was made meanwhile; register it again")
    if created:
        said = {"name": prompt.name, "version": prompt.version, "sha256": prompt.sha256}
        await record(tx, "agent_prompt.registered", "agent_prompt", prompt.prompt_version_id, after=said)
    return RegisteredPrompt(**prompt.model_dump(), created=created)


async def get_prompt(tx: Transaction, prompt_version_id: UUID) -> PromptWithTemplate:
    """Raises `NotFound`."""
    READ_VERSIONS.check(tx.context)
    row = await _queries.get_prompt(tx.connection, workspace_id=tx.workspace_id, prompt_version_id=prompt_version_id)
    if row is None:
        raise NotFound("no such version of a prompt")
    return PromptWithTemplate(**row)


async def list_prompts(
    tx: Transaction, name: str | None = None, cursor: str | None = None, page_size: int = 25
) -> PromptPage:
    """Versions without their templates, the newest first. Raises `InvalidInput` for a cursor of another list."""
    READ_VERSIONS.check(tx.context)
    listing = f"agent prompts:{name}"
    rows = await _queries.list_prompts(
        tx.connection,
        workspace_id=tx.workspace_id,
        name=name,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["prompt_version_id"]])
    return PromptPage(data=[Prompt(**row) for row in page], page_size=page_size, next_cursor=following)


async def _find(tx: Transaction, new: NewPrompt) -> Prompt | None:
    row = await _queries.find_prompt(tx.connection, workspace_id=tx.workspace_id, name=new.name, template=new.template)
    return None if row is None else Prompt(**row)
