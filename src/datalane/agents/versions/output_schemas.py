"""Output schemas: registered under a name, read and listed. The same schema under the same name is the same version."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from datalane.agents.permissions import READ_VERSIONS, REGISTER_VERSIONS
from datalane.agents.versions.schemas import (
    NewOutputSchema,
    OutputSchema,
    OutputSchemaPage,
    OutputSchemaWithText,
    RegisteredOutputSchema,
)
from datalane.contracts.conformance import check_schema
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.errors import Conflict, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7

_queries = load_queries(__file__, "output_schemas.sql")


async def register_output_schema(
    tx: Transaction, new: NewOutputSchema, now: datetime | None = None
) -> RegisteredOutputSchema:
    """The version of this schema, which is made if it is not there. Of two at once with one schema, one makes it.

    Raises `InvalidInput` for what is no JSON Schema 2020-12 and for one that refers beyond itself, `LimitExceeded` for
    one that is too large, too deep or too entangled, `Conflict` when raw SQL took the number meanwhile.
    """
    REGISTER_VERSIONS.check(tx.context)
    tx = tx.following()
    check_schema(new.json_schema, "body.json_schema")
    known = await _find(tx, new)
    if known is not None:
        return RegisteredOutputSchema(**known.model_dump(), created=False)
    await _queries.lock_name(tx.connection, workspace_id=tx.workspace_id, name=new.name)
    done = await _queries.add_schema(
        tx.connection,
        workspace_id=tx.workspace_id,
        output_schema_version_id=uuid7(),
        name=new.name,
        schema=new.json_schema,
        now=now or utc_now(),
        actor_id=tx.context.actor_id,
    )
    found, created = await _find(tx, new), done == "INSERT 0 1"
    if found is None:
        raise Conflict("another version of the output schema was made meanwhile; register it again")
    if created:
        said = {"name": found.name, "version": found.version, "sha256": found.sha256}
        await record(
            tx, "agent_output_schema.registered", "agent_output_schema", found.output_schema_version_id, after=said
        )
    return RegisteredOutputSchema(**found.model_dump(), created=created)


async def get_output_schema(tx: Transaction, output_schema_version_id: UUID) -> OutputSchemaWithText:
    """Raises `NotFound`."""
    READ_VERSIONS.check(tx.context)
    row = await _queries.get_schema(
        tx.connection, workspace_id=tx.workspace_id, output_schema_version_id=output_schema_version_id
    )
    if row is None:
        raise NotFound("no such version of an output schema")
    return OutputSchemaWithText(**row)


async def list_output_schemas(
    tx: Transaction, name: str | None = None, cursor: str | None = None, page_size: int = 25
) -> OutputSchemaPage:
    """Versions without their schemas, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_VERSIONS.check(tx.context)
    listing = f"agent output schemas:{name}"
    rows = await _queries.list_schemas(
        tx.connection,
        workspace_id=tx.workspace_id,
        name=name,
        before=tx.read_id_cursor(listing, cursor),
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(listing, rows, page_size, lambda row: [row["output_schema_version_id"]])
    return OutputSchemaPage(data=[OutputSchema(**row) for row in page], page_size=page_size, next_cursor=following)


async def _find(tx: Transaction, new: NewOutputSchema) -> OutputSchema | None:
    row = await _queries.find_schema(tx.connection, workspace_id=tx.workspace_id, name=new.name, schema=new.json_schema)
    return None if row is None else OutputSchema(**row)
