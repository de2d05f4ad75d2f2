"""The verbs of analytics, called in raw SQL: nobody says more by them than by the library."""

from __future__ import annotations

from typing import Any

import pytest
from tests.integration.access.analytics.conftest import NOON, AnalyticsDesk, an_event

from datalane.contracts.context import Role
from datalane.errors import Forbidden, InvalidInput, LimitExceeded

pytestmark = pytest.mark.one_database

SAW = "'{NULL}'"
RAW = f"'{{1}}', '{{a.b}}', '{{1}}', '{{2031-01-01Z}}', '{{ann}}', {SAW}"
"""What a verb takes of one event, before its payload."""


async def test_a_viewer_records_nothing_in_raw_sql_either(desk: AnalyticsDesk) -> None:
    viewer = desk.of(Role.VIEWER)
    with pytest.raises(Forbidden):
        await viewer.tell(an_event("1"))
    call = f"SELECT datalane.record_analytics({RAW}, '{{\"{{}}\"}}', '5 min')"
    hold = call.replace("record", "hold").replace("'5 min'", "'{valid}', '{\"[]\"}'")
    for statement in (call, hold):
        with pytest.raises(Forbidden):
            async with desk.database.transaction(viewer.context) as tx:
                await tx.execute(statement)


@pytest.mark.parametrize("role", [Role.MEMBER, Role.OWNER])
async def test_no_member_says_what_time_it_is(desk: AnalyticsDesk, role: Role) -> None:
    told = "now => now() - interval '1 day'"
    for call in (
        f"record_analytics({RAW}, '{{\"{{}}\"}}', '5 min', {told})",
        f"hold_analytics({RAW}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}', {told})",
        f"land_analytics('{{1}}', '5 min', {told})",
        f"repair_analytics('1', 1, 'a.b', 1, '{{}}', 'a note', 'valid', '[]', {told})",
        f"explain_analytics('{{1}}', '{{valid}}', '{{\"[]\"}}', {told})",
        f"discard_analytics('{{1}}', 'a reason', {told})",
    ):
        with pytest.raises(Forbidden):
            async with desk.database.transaction(desk.of(role).context) as tx:
                await tx.execute(f"SELECT datalane.{call}")


@pytest.mark.parametrize("tolerance", ["'2 days'", "'-1 second'", "'infinity'", "NULL"])
async def test_a_tolerance_is_bounded_in_raw_sql(desk: AnalyticsDesk, tolerance: str) -> None:
    for call in (f"record_analytics({RAW}, '{{\"{{}}\"}}', {tolerance})", f"land_analytics('{{1}}', {tolerance})"):
        with pytest.raises(InvalidInput, match="at most a day"):
            async with desk.database.transaction(desk.admin.context) as tx:
                await tx.execute(f"SELECT datalane.{call}")


@pytest.mark.parametrize(
    ("moment", "is_held"),
    [
        ("infinity", False),
        ("-infinity", False),
        ("0044-03-15 BC", False),
        ("12000-01-01", False),
        ("9999-12-31", True),
        ("0001-01-01", True),
        ("2016-01-01", True),
    ],
)
async def test_times_are_bounded_in_raw_sql(desk: AnalyticsDesk, moment: str, is_held: bool) -> None:
    """What no client can read would break every list that it stands in."""
    record = f"SELECT datalane.record_analytics({RAW}, '{{\"{{}}\"}}', '5 min')"
    hold = f"SELECT datalane.hold_analytics({RAW}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}')"
    said = dict.fromkeys([record] if is_held else [record, hold])
    for statement in said:
        with pytest.raises(InvalidInput, match="happens between"):
            async with desk.database.transaction(desk.context) as tx:
                await tx.execute(statement.replace("2031-01-01Z", f"{moment} UTC" if moment[-1].isdigit() else moment))
    if is_held:
        async with desk.database.transaction(desk.context) as tx:
            await tx.execute(hold.replace("2031-01-01Z", f"{moment} UTC"))
        assert [event.occurred_at.isoformat()[:10] for event in await desk.held()] == [moment]


@pytest.mark.parametrize("payload", ["[]", '"a"', "1", "true", "null"])
async def test_payloads_and_what_clients_saw_are_objects_in_raw_sql_too(desk: AnalyticsDesk, payload: str) -> None:
    raw = RAW.replace("2031-01-01Z", str(NOON))
    for call in (
        f"record_analytics({raw}, ARRAY[$1::text::jsonb], '5 min')",
        f"record_analytics({raw.replace(SAW, 'ARRAY[$1::text::jsonb]')}, '{{\"{{}}\"}}', '5 min')",
        f"hold_analytics({raw}, ARRAY[$1::text::jsonb], '{{valid}}', '{{\"[]\"}}')",
        f"hold_analytics({raw.replace(SAW, 'ARRAY[$1::text::jsonb]')}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}')",
    ):
        with pytest.raises(InvalidInput, match="is an object"):
            async with desk.database.transaction(desk.context) as tx:
                await tx.execute(f"SELECT datalane.{call}", payload)


async def test_nobody_writes_events_past_the_verbs(desk: AnalyticsDesk) -> None:
    await desk.tell(an_event("1", plan_id="pro"))
    for statement in (
        "UPDATE datalane.analytics_events SET plan_id = 'pro'",
        "DELETE FROM datalane.analytics_events",
        "INSERT INTO datalane.analytics_events (workspace_id) VALUES (app.workspace_id())",
        "UPDATE datalane.integrity_anomalies SET status = 'resolved'",
        "DELETE FROM datalane.integrity_anomalies",
        "UPDATE datalane.analytics_quarantine SET payload = '{}'",
        "DELETE FROM datalane.analytics_quarantine",
        "INSERT INTO datalane.analytics_quarantine (workspace_id) VALUES (app.workspace_id())",
        "UPDATE datalane.tracking_plan SET json_schema = '{}'",
        "DELETE FROM datalane.tracking_plan",
    ):
        with pytest.raises(Forbidden):
            async with desk.database.transaction(desk.of(Role.OWNER).context) as tx:
                await tx.execute(statement)


@pytest.mark.parametrize(
    ("call", "value", "limit"),
    [
        ("record_analytics({raw}, $1, '5 min')", {"a": "x" * 300_000}, r"limits\.event_payload"),
        ("hold_analytics({raw}, $1, '{{valid}}', '{{\"[]\"}}')", {"a": "x" * 300_000}, r"limits\.event_payload"),
        ("record_analytics({seen}, '{{\"{{}}\"}}', '5 min')", {"a": "x" * 2**20}, "what a client saw"),
        ("hold_analytics({seen}, '{{\"{{}}\"}}', '{{valid}}', '{{\"[]\"}}')", {"a": "x" * 2**20}, "what a client saw"),
        ("hold_analytics({raw}, '{{\"{{}}\"}}', '{{valid}}', $1)", [{"code": "x" * 2**16}], "reasons"),
    ],
)
async def test_payloads_and_what_stands_beside_them_are_bounded_in_raw_sql_too(
    desk: AnalyticsDesk, call: str, value: Any, limit: str
) -> None:
    raw = RAW.replace("2031-01-01Z", str(NOON))
    statement = f"SELECT datalane.{call.format(raw=raw, seen=raw.replace(SAW, '$1'))}"
    with pytest.raises((LimitExceeded, InvalidInput), match=limit):
        async with desk.database.transaction(desk.context) as tx:
            await tx.fetch(statement, [value])
