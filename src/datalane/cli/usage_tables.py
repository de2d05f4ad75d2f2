"""What people see of plans and usage."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from datalane.access.entitlements.schemas import EntitlementList
from datalane.access.usage.schemas import Counter, Difference, LedgerRow
from datalane.cli.job_tables import console
from datalane.cli.output import printable

_MOMENT = "%Y-%m-%d %H:%M:%S"


def print_entitlements(held: EntitlementList) -> None:
    plan = held.plan
    if plan is None:
        console().print("no plan")
    else:
        until = f", until {plan.expires_at:{_MOMENT}}" if plan.expires_at else ""
        console().print(f"plan {plan.plan_id} version {plan.plan_version}, {plan.status}{until} (by {plan.source})")
    table = _table("feature", "status", "by", "until")
    for each in held.data:
        until = f"{each.expires_at:{_MOMENT}}" if each.expires_at else ""
        table.add_row(*map(Text, (each.feature_key, each.entitlement_status, each.override_source or "plan", until)))
    if held.data:
        console().print(table)


def print_counters(counters: Sequence[Counter]) -> None:
    if not counters:
        console().print("no quotas")
        return
    table = _table("quota", "used", "set aside", "limit", "left", "window", "begins again")
    for each in counters:
        limit = "recovering" if each.recovering else "none" if each.limit_units is None else f"{each.limit_units:,}"
        left = "" if each.remaining_units is None else f"{each.remaining_units:,}"
        window = f"last {each.seconds:,} s" if each.seconds else each.window
        ends = f"{each.period_end:{_MOMENT}}" if each.period_end else ""
        row = (each.quota_key, f"{each.consumed_units:,}", f"{each.reserved_units:,}", limit, left, window, ends)
        table.add_row(*map(Text, row))
    console().print(table)


def print_ledger(rows: Sequence[LedgerRow]) -> None:
    if not rows:
        console().print("nothing was used")
        return
    table = _table("at", "kind", "units", "key", "reason", "correlation id")
    for each in rows:
        said = (f"{each.at:{_MOMENT}}", each.kind, f"{each.units:+,}", printable(each.idempotency_key))
        table.add_row(*map(Text, said), Text(printable(each.reason or "")), Text(each.correlation_id or ""))
    console().print(table)


def print_differences(found: Sequence[Difference]) -> None:
    if not found:
        console().print("every counter is the sum of its ledger")
        return
    table = _table("quota", "period", "counter", "ledger", "set aside", "open reservations")
    for each in found:
        begins = f"{each.period_start:{_MOMENT}}" if each.period_start else "rolling"
        numbers = (each.consumed_units, each.ledger_units, each.reserved_units, each.open_units)
        table.add_row(Text(each.quota_key), Text(begins), *(Text(f"{number:,}") for number in numbers))
    console().print(table)


def _table(*columns: str) -> Table:
    return Table(*columns, box=None)
