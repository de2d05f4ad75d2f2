"""Recording events of analytics: what is valid lands once, and what is not is held back with the reasons."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from tests.conftest import a_context
from tests.integration.access.analytics.conftest import HOUR, NOON, AnalyticsDesk, an_event

from datalane.access.analytics.schemas import NewAnalyticsEvent
from datalane.errors import InvalidInput, LimitExceeded

pytestmark = pytest.mark.one_database


async def test_a_valid_event_is_stored_as_it_was_told(desk: AnalyticsDesk) -> None:
    told = await desk.tell(an_event("1", {"source": "ad", "seats": 3}))
    [event] = await desk.events()
    assert (told.accepted, told.data[0].outcome, told.data[0].reasons) == (1, "accepted", [])
    assert event.model_dump(include={"source_event_id", "subject", "payload", "occurred_at", "quarantined"}) == {
        "source_event_id": "1",
        "subject": "ann",
        "payload": {"source": "ad", "seats": 3},
        "occurred_at": NOON,
        "quarantined": False,
    }
    assert (event.actor_id, event.correlation_id) == (desk.context.actor_id, desk.context.correlation_id)
    assert (event.plan_id, event.payload_validation_status) == (None, "valid")


async def test_who_tells_is_the_subject_by_default(desk: AnalyticsDesk) -> None:
    await desk.tell(an_event("1", subject=None))
    [event] = await desk.events()
    assert event.subject == str(desk.context.actor_id)


async def test_the_same_event_again_is_a_duplicate_and_another_one_of_its_id_a_conflict(desk: AnalyticsDesk) -> None:
    assert await desk.outcomes(an_event("1", {"source": "ad", "seats": 1})) == ["accepted"]
    assert await desk.outcomes(an_event("1", {"seats": 1, "source": "ad"})) == ["duplicate"]
    changed: list[dict[str, Any]] = [
        {"payload": {"source": "friend"}},
        {"occurred_at": NOON + HOUR},
        {"subject": "bob"},
        {"plan_id": "pro"},
    ]
    for said in changed:
        assert await desk.outcomes(an_event("1", **said)) == ["conflict"]
    assert [event.payload for event in await desk.events()] == [{"source": "ad", "seats": 1}]


async def test_an_id_that_comes_twice_in_a_batch_lands_once(desk: AnalyticsDesk) -> None:
    batch = [an_event("1"), an_event("2"), an_event("1"), an_event("1", {"source": "friend"})]
    assert await desk.outcomes(*batch) == ["accepted", "accepted", "duplicate", "conflict"]
    assert await desk.outcomes(*batch) == ["duplicate", "duplicate", "duplicate", "conflict"]
    assert await desk.stored() == ["1", "2"]


async def test_of_many_that_tell_the_same_at_once_one_is_accepted(desk: AnalyticsDesk) -> None:
    there, back = (
        [an_event(str(number)) for number in range(20)],
        [an_event(str(number)) for number in range(19, -1, -1)],
    )
    told = await asyncio.gather(*(desk.tell(*(there if turn % 2 else back)) for turn in range(8)))
    assert sum(each.accepted for each in told) == 20
    assert sum(each.duplicates for each in told) == 7 * 20
    assert len(await desk.stored()) == 20


async def test_the_id_is_known_in_its_own_workspace_alone(desk: AnalyticsDesk) -> None:
    other = AnalyticsDesk(desk.database, a_context())
    await other.track()
    assert await desk.outcomes(an_event("1")) == ["accepted"]
    assert await other.outcomes(an_event("1", {"source": "friend"})) == ["accepted"]


@pytest.mark.parametrize(
    ("payload", "status", "codes"),
    [
        ({}, "missing_required_fields", ["required"]),
        ({"seats": 1}, "missing_required_fields", ["required"]),
        ({"source": 7}, "invalid_schema", ["type"]),
        ({"source": "ad", "seats": 1.5}, "invalid_schema", ["type"]),
        ({"source": "ad", "more": 1}, "invalid_schema", ["additionalProperties"]),
        ({"seats": "one"}, "invalid_schema", ["required", "type"]),
        ({"source": None}, "invalid_schema", ["type"]),
    ],
)
async def test_a_payload_that_does_not_match_is_held_back(
    desk: AnalyticsDesk, payload: dict[str, Any], status: str, codes: list[str]
) -> None:
    [told] = (await desk.tell(an_event("1", payload))).data
    assert (told.outcome, told.payload_validation_status) == ("quarantined", status)
    assert sorted(reason.code for reason in told.reasons) == codes
    [held] = await desk.held()
    assert (held.payload, held.reasons, held.payload_validation_status) == (payload, told.reasons, status)
    assert await desk.stored() == []
    [listed] = await desk.events(status=status)
    assert listed.quarantined


async def test_what_is_not_tracked_is_held_back_and_says_what_is_missing(desk: AnalyticsDesk) -> None:
    await desk.track("page.seen", schema={})
    await desk.retire("page.seen")
    told = await desk.tell(
        an_event("1", event_name="page.lost"),
        an_event("2", event_version=2),
        an_event("3", event_name="page.seen"),
        an_event("4"),
    )
    codes = [[reason.code for reason in each.reasons] for each in told.data]
    assert codes == [["unknown_event"], ["unknown_version"], ["retired_version"], []]
    assert (told.quarantined, told.accepted) == (3, 1)


@pytest.mark.parametrize(
    ("after", "codes"),
    [
        (timedelta(hours=24), []),
        (timedelta(hours=24, seconds=1), ["from_the_future"]),
        (timedelta(days=3_000), ["from_the_future"]),
        (-timedelta(days=400), []),
        (-timedelta(days=400, seconds=1), ["too_old"]),
        (-timedelta(days=9_000), ["too_old"]),
    ],
)
async def test_events_of_other_times_are_held_back(desk: AnalyticsDesk, after: timedelta, codes: list[str]) -> None:
    [told] = (await replace(desk, now=NOON).tell(an_event("1", occurred_at=NOON + after))).data
    assert [reason.code for reason in told.reasons] == codes
    assert told.payload_validation_status == "valid"
    assert (told.outcome == "quarantined") == bool(codes)


async def test_what_is_held_back_is_known_when_it_comes_again(desk: AnalyticsDesk) -> None:
    assert await desk.outcomes(an_event("1", {})) == ["quarantined"]
    assert await desk.outcomes(an_event("1", {}), an_event("2")) == ["duplicate", "accepted"]
    assert await desk.outcomes(an_event("1")) == ["conflict"]
    assert await desk.outcomes(an_event("2", {})) == ["conflict"]
    assert (len(await desk.held()), await desk.stored()) == (1, ["2"])


@pytest.mark.parametrize(
    ("payload", "error", "message"),
    [
        (
            {"source": "x" * 2**20},
            LimitExceeded,
            "payload of event 1 is 1,048,589 bytes, over the limit of 262,144",
        ),
        ({"source": float("nan")}, InvalidInput, "NaN"),
        ({"source": "a\x00b"}, InvalidInput, "NUL"),
        ({"a\x00b": 1}, InvalidInput, "NUL"),
        ({"source": "\ud800"}, InvalidInput, "cannot be written as JSON"),
        ({"seats": 2**70}, InvalidInput, "cannot be written as JSON"),
    ],
)
async def test_a_payload_that_cannot_be_stored_refuses_the_batch(
    desk: AnalyticsDesk, payload: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        await desk.tell(an_event("1"), an_event("2", payload))
    assert await desk.events() == []


async def test_a_payload_that_is_too_deep_is_refused(desk: AnalyticsDesk) -> None:
    deep: dict[str, Any] = {}
    for _ in range(40):
        deep = {"in": deep}
    with pytest.raises(LimitExceeded, match="nested deeper"):
        await desk.tell(an_event("1", deep))


async def test_a_batch_has_one_to_a_thousand_events(desk: AnalyticsDesk) -> None:
    with pytest.raises(LimitExceeded, match=r"limits\.batch"):
        await desk.tell(*(an_event(str(number)) for number in range(1_001)))
    with pytest.raises(InvalidInput, match="0 events"):
        await desk.tell()
    assert (await desk.tell(*(an_event(str(number)) for number in range(1_000)))).accepted == 1_000


@pytest.mark.parametrize(
    "said",
    [
        {"event_name": "signup"},
        {"event_name": "Signup.Completed"},
        {"event_name": "a." + "b" * 200},
        {"event_version": 0},
        {"event_version": 2**31},
        {"event_version": "1.5"},
        {"source_event_id": ""},
        {"source_event_id": "x" * 201},
        {"source_event_id": "a\x00"},
        {"occurred_at": "2031-03-03T12:00:00"},
        {"occurred_at": "soon"},
        {"subject": ""},
        {"payload": [1]},
        {"payload": None},
        {"more": 1},
        {"entitlement_snapshot": {"status": "paid"}},
        {"entitlement_snapshot": {"more": 1}},
        {"plan_id": "pro", "entitlement_snapshot": {"plan_id": "free"}},
        {"plan_id": "pro", "entitlement_snapshot": {"plan_id": None}},
    ],
)
def test_an_event_that_is_malformed_is_refused(said: dict[str, Any]) -> None:
    usual = {"event_name": "a.b", "source_event_id": "1", "occurred_at": "2031-03-03T12:00:00Z"}
    with pytest.raises(ValidationError):
        NewAnalyticsEvent(**{**usual, **said})


async def test_a_schema_that_cannot_be_checked_by_holds_its_events(desk: AnalyticsDesk) -> None:
    """In raw SQL an admin can put anything there."""
    async with desk.database.transaction(desk.admin.context) as tx:
        await tx.execute(
            "INSERT INTO datalane.tracking_plan (workspace_id, event_name, event_version, tracking_id, json_schema, "
            "owner, description, registered_at, registered_by_actor_id) VALUES (app.workspace_id(), 'bad.schema', 1, "
            "app.uuid7(), '{\"$ref\": \"https://example.org/\"}', 'me', '', now(), app.actor_id())"
        )
    [told] = (await desk.tell(an_event("1", event_name="bad.schema"))).data
    assert [reason.code for reason in told.reasons] == ["unusable_schema"]
