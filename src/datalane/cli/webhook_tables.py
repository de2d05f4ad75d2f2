"""What people see of webhooks."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from datalane.cli.job_tables import console
from datalane.cli.output import printable
from datalane.integrations.webhooks.deliveries.schemas import WebhookDelivery
from datalane.integrations.webhooks.endpoints.schemas import WebhookEndpoint


def print_endpoints(endpoints: Sequence[WebhookEndpoint]) -> None:
    if not endpoints:
        console().print("no endpoints")
        return
    table = _table("id", "status", "reason", "url", "types", "last success")
    for each in endpoints:
        last = f"{each.last_success_at:%Y-%m-%d %H:%M:%S}" if each.last_success_at else ""
        row = (each.status, each.status_reason or "", printable(each.url), ", ".join(each.event_types), last)
        table.add_row(str(each.endpoint_id), *map(Text, row))
    console().print(table)


def print_deliveries(deliveries: Sequence[WebhookDelivery]) -> None:
    if not deliveries:
        console().print("no deliveries")
        return
    table = _table("id", "type", "status", "attempts", "created", "next attempt", "error")
    for each in deliveries:
        status = f"{each.status}, held" if each.held else each.status
        following = f"{each.next_attempt_at:%Y-%m-%d %H:%M:%S}" if each.next_attempt_at else ""
        row = (each.event_type, status, str(each.attempt_count), f"{each.created_at:%Y-%m-%d %H:%M:%S}", following)
        table.add_row(str(each.delivery_id), *map(Text, row), Text(each.last_error_class or ""))
    console().print(table)


def _table(*names: str) -> Table:
    table = Table(box=None)
    for name in names:
        table.add_column(name, overflow="fold")
    return table
