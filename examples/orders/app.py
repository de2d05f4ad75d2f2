"""Orders: a small application on the lane.

An order is a row of the shop's own table. Placing one stores the row and publishes `order.placed`, in one transaction.
A transactional handler of that event reserves the stock and asks for a confirmation; an external handler sends it.

    datalane up --app app:lane          the lane with this application's handlers
    python app.py prepare               the shop's table, once
    python app.py place WORKSPACE_ID    an order
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from datalane import Context, Job, JobError, Lane, Transaction
from datalane.db.home import connection_settings, maintenance_url
from datalane.db.roles import Roles
from datalane.engine.events import get_event, publish
from datalane.engine.jobs import enqueue
from datalane.settings import load_settings

lane = Lane()
lane.event(
    "order.placed",
    {
        "type": "object",
        "properties": {"order_id": {"type": "string"}, "total_cents": {"type": "integer", "minimum": 1}},
        "required": ["order_id", "total_cents"],
    },
)


async def place_order(tx: Transaction, order_id: UUID, total_cents: int) -> None:
    """The row and its event commit together or not at all."""
    await tx.execute(
        "INSERT INTO shop.orders (workspace_id, order_id, total_cents) VALUES ($1, $2, $3)",
        *(tx.workspace_id, order_id, total_cents),
    )
    payload = {"order_id": str(order_id), "total_cents": total_cents}
    await publish(tx, "order.placed", payload, source_event_id=f"order:{order_id}", subject_id=str(order_id))


@lane.handlers.on_event("order.placed")
async def reserve_stock(tx: Transaction, job: Job) -> None:
    """Runs exactly once: its writes, the next job and its own completion are one transaction."""
    event = await get_event(tx, UUID(job.args["event_id"]))
    if event is None:
        raise JobError("event_gone", "the event is past its retention", retryable=False)
    await tx.execute(
        "UPDATE shop.orders SET status = 'reserved' WHERE workspace_id = $1 AND order_id = $2",
        *(tx.workspace_id, UUID(event.payload["order_id"])),
    )
    await enqueue(tx, "send_confirmation", event.payload, subject_id=event.subject_id, max_attempts=5)


@lane.handlers.external("send_confirmation", timeout=timedelta(seconds=30))
def send_confirmation(job: Job) -> None:
    """Runs at least once, so the other side gets the job's id as idempotency key. A plain function runs in a thread."""
    outbox = Path(os.environ.get("ORDERS_OUTBOX", "outbox.txt"))
    with outbox.open("a") as file:
        file.write(f"{job.id} order {job.args['order_id']}: {job.args['total_cents'] / 100:.2f}\n")


def prepare() -> None:
    """Make the shop's table, as the owner role, which the maintenance login may step into."""
    settings = load_settings()
    roles = Roles(settings.role_prefix)
    script = roles.render((Path(__file__).parent / "schema.sql").read_text())
    with psycopg.connect(maintenance_url(settings)) as connection:
        connection.execute(f"SET ROLE {roles.owner}".encode())
        connection.execute(script.encode())


async def place(workspace_id: UUID) -> None:
    settings = load_settings()
    order_id = uuid4()
    async with (
        lane.open(settings, connection_settings(settings).database_url),
        lane.transaction(Context.system(workspace_id)) as tx,
    ):
        await place_order(tx, order_id, 4_200)
    print(order_id)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["prepare"]:
            prepare()
        case ["place", workspace]:
            asyncio.run(place(UUID(workspace)))
        case _:
            sys.exit(__doc__)
