"""Endpoints that hang, drip, lie, flood, break off or lead elsewhere: each attempt ends, says why, and costs a bounded
amount."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.integration.engine.lab import eventually
from tests.integration.integrations.hooks import HERE, Hooks, register_types
from tests.integration.integrations.sink import (
    Reply,
    Sink,
    answer,
    break_off,
    drip,
    flood,
    hang,
    hang_up,
    listening,
)

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.errors import InvalidInput
from datalane.integrations.webhooks.deliveries import decisions
from datalane.integrations.webhooks.endpoints.targets import check_target
from datalane.kit import lookups, outbound
from datalane.kit.clock import utc_now
from datalane.settings import OutboundSettings, Pauses, Settings, WebhookSettings

LONG = Pauses.read("3600,3600")
DISABLED = (
    "SELECT payload, causation_id, causation_depth, correlation_id FROM datalane.events "
    "WHERE event_type = 'webhook.endpoint_disabled'"
)


@pytest.fixture
async def hooks(database: Database, context: Context) -> Hooks:
    await register_types(database)
    return Hooks.of(database, context, pauses=LONG, timeout=timedelta(seconds=0.5))


@pytest.fixture
async def sink() -> AsyncIterator[Sink]:
    async with listening() as opened:
        yield opened


async def attempted(hooks: Hooks, url: str) -> Any:
    """The one attempt of the one delivery, which waits for its next."""
    await hooks.create(url)
    await hooks.pay(1)
    async with hooks.working():
        [delivery] = await hooks.until(1, "failed")
    [attempt] = delivery.attempts
    assert delivery.next_attempt_at is not None
    assert attempt.outcome == "failed"
    return attempt


@pytest.mark.parametrize(
    ("reply", "error_class", "status"),
    [
        (hang, "timeout", None),
        (drip, "timeout", None),
        (break_off, "protocol", None),
        (hang_up, "protocol", None),
        (answer(302, location="http://127.0.0.1/inside"), "redirect", 302),
        (answer(301, location="http://169.254.169.254/latest"), "redirect", 301),
        (answer(304), "redirect", 304),
        (answer(404), "client_error", 404),
        (answer(429), "rate_limited", 429),
        (answer(599), "server_error", 599),
    ],
)
async def test_each_way_to_fail_has_its_class(
    hooks: Hooks, sink: Sink, reply: Reply, error_class: str, status: int | None
) -> None:
    sink.reply = reply
    attempt = await attempted(hooks, sink.url)
    assert (attempt.error_class, attempt.status_code) == (error_class, status)
    assert attempt.latency_ms < 2_000
    assert len(sink.taken) == 1


async def test_nobody_there_is_a_failed_attempt(hooks: Hooks) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        attempt = await attempted(hooks, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert attempt.error_class == "connect"


async def test_of_two_gigabytes_the_beginning_is_kept_and_no_more_is_read(hooks: Hooks, sink: Sink) -> None:
    sink.reply = flood
    await hooks.create(sink.url)
    await hooks.pay(1)
    async with hooks.working():
        [delivery] = await hooks.until(1)
    [attempt] = delivery.attempts
    assert attempt.response_excerpt == "x" * 2_048
    assert attempt.latency_ms is not None
    assert attempt.latency_ms < 500


async def test_of_an_answer_no_more_is_kept_than_the_setting_says(hooks: Hooks, sink: Sink) -> None:
    hooks = Hooks.of(hooks.database, hooks.admin, pauses=LONG, response_excerpt=10)
    sink.reply = answer(500, b"\xff" + b"x" * 100)
    attempt = await attempted(hooks, sink.url)
    assert attempt.response_excerpt == "\ufffd" + "x" * 7


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://10.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://0.0.0.0/",
        "https://localhost/",
        "https://localhost./",
        "http://example.com/",
        "https://me:secret@example.com/",
        "ftp://example.com/",
        "https:///",
        "nothing",
    ],
)
def test_a_url_that_is_not_sent_to_is_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_target(url)


def test_a_network_that_is_allowed_may_be_asked_without_tls() -> None:
    assert check_target("http://127.0.0.1:8000/a#b", HERE) == "http://127.0.0.1:8000/a"
    assert check_target("http://localhost:8000/", HERE) == "http://localhost:8000/"
    assert check_target("https://example.com/hook") == "https://example.com/hook"
    with pytest.raises(InvalidInput):
        check_target("http://10.0.0.1/", HERE)


async def test_a_name_that_is_private_at_the_second_look_is_not_reached(
    hooks: Hooks, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What answers for the name points at this machine from its second answer on. Nobody but the guard looks it up, so
    the address that it checked is the one that is asked."""
    looked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[Any]:
        looked.append(host)
        address = "127.0.0.1" if len(looked) == 1 else "10.0.0.7"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, sink.port))]

    monkeypatch.setattr(lookups, "look_up", rebinding)
    url = f"https://rebinding.example.com:{sink.port}/"
    await hooks.create(url)
    async with hooks.database.transaction(hooks.admin) as tx:  # TLS is of no matter here
        await tx.execute("UPDATE datalane.webhook_endpoints SET url = replace(url, 'https', 'http')")
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1)
    await hooks.pay(2)
    async with hooks.working():  # a connection of its own
        await hooks.until(2, "delivered", "failed")
    classes = [each.attempts[0].error_class for each in await hooks.deliveries()]
    assert classes == [None, "address_refused"]
    assert len(sink.taken) == 1


async def test_names_that_are_never_told_hold_up_their_own_workspace_and_count_for_no_other_endpoint(
    hooks: Hooks, sink: Sink, other_context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = threading.Event()

    def never(host: str, port: int) -> Sequence[Any]:
        if host.startswith("hang"):
            told.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(lookups, "look_up", never)
    monkeypatch.setattr(outbound, "_LOOKUPS", lookups.Lookups(4, 2))
    monkeypatch.setattr(decisions, "UNTIL_FREE", timedelta(seconds=0.2))
    others = Hooks(hooks.database, replace(other_context, role=Role.ADMIN), hooks.settings)
    for whose, names in ((hooks, [f"hang{number}" for number in range(5)]), (others, ["there"])):
        for name in names:
            await whose.create(f"https://{name}.example.com:{sink.port}/")
        async with whose.database.transaction(whose.admin) as tx:  # TLS is of no matter here
            await tx.execute("UPDATE datalane.webhook_endpoints SET url = replace(url, 'https', 'http')")
        await whose.pay(1)
    try:
        async with hooks.working():
            await hooks.until(5, "failed")
            await others.until(1)
            classes = [each.last_error_class for each in await hooks.deliveries()]
            assert sorted(map(str, classes)) == [*["lookup_busy"] * 3, *["timeout"] * 2]
            told.set()
            await eventually(lambda: _are_delivered(hooks, 3))
    finally:
        told.set()
    ended = [each for each in await hooks.deliveries() if each.status == "delivered"]
    assert [each.failure_count for each in ended] == [0, 0, 0]
    assert {each.attempts[0].error_class for each in ended} == {"lookup_busy"}
    failing = await hooks.rows("SELECT FROM datalane.webhook_endpoints WHERE failures_in_a_row > 0")
    assert len(failing) == 2


async def _are_delivered(hooks: Hooks, count: int) -> bool:
    return len(await hooks.rows("SELECT FROM datalane.webhook_deliveries WHERE status = 'delivered'")) == count


async def test_an_address_inside_is_refused_where_no_network_is_allowed(hooks: Hooks, sink: Sink) -> None:
    """The endpoint was made while the network was allowed."""
    await hooks.create(sink.url)
    await hooks.pay(1)
    strict = Settings(outbound=OutboundSettings(), webhooks=WebhookSettings(pauses=LONG))
    async with Hooks(hooks.database, hooks.admin, strict).working():
        [delivery] = await hooks.until(1, "failed")
    assert delivery.attempts[0].error_class == "address_refused"
    assert sink.taken == []


async def test_retry_after_is_honoured_and_bounded(hooks: Hooks, sink: Sink) -> None:
    hooks = Hooks.of(hooks.database, hooks.admin, pauses=Pauses.read("1,1"))
    replies = iter([answer(429, retry_after="600"), answer(503, retry_after="999999999")])
    sink.reply = lambda taken, writer: next(replies)(taken, writer)
    await hooks.create(sink.url)
    pauses = []
    for invoice in (1, 2):
        await hooks.pay(invoice)
        async with hooks.working():
            await hooks.until(invoice, "failed")
        following = (await hooks.deliveries())[-1].next_attempt_at
        assert following is not None
        pauses.append((following - utc_now()).total_seconds())
    assert pauses[0] == pytest.approx(600, abs=15)
    assert pauses[1] == pytest.approx(12 * 3_600, abs=15)


async def test_gone_disables_the_endpoint_and_keeps_what_comes(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    sink.reply = answer(410)
    [cause] = await hooks.pay(1)
    async with hooks.working():
        [delivery] = await hooks.until(1, "failed", held=True)
        await hooks.pay(2)
        await hooks.until(2, "failed", "pending", held=True)
        await hooks.until_idle()
        endpoint = await hooks.endpoint(made.endpoint.endpoint_id)
        assert (endpoint.status, endpoint.status_reason) == ("disabled", "gone")
        assert delivery.attempts[0].error_class == "gone"
        [event] = await hooks.rows(DISABLED)
        assert event["payload"] == {"endpoint_id": str(endpoint.endpoint_id), "reason": "gone"}
        assert (event["causation_id"], event["causation_depth"]) == (cause, 1)
        assert event["correlation_id"] == delivery.correlation_id
        assert len(sink.taken) == 1
        sink.reply = answer(204)
        await hooks.switch(endpoint.endpoint_id, on=True)
        assert (await hooks.recover(endpoint.endpoint_id)).deliveries == 2
        await hooks.until(2)
    assert [taken.message["data"]["invoice"] for taken in sink.taken] == [1, 1, 2]


async def test_an_endpoint_is_disabled_also_because_of_an_event_that_may_cause_nothing_more(
    hooks: Hooks, sink: Sink
) -> None:
    made = await hooks.create(sink.url)
    sink.reply = answer(410)
    [cause] = await replace(hooks, admin=hooks.admin.caused_by(None, 16)).pay(1)
    async with hooks.working():
        await hooks.until(1, "failed", held=True)
    assert (await hooks.endpoint(made.endpoint.endpoint_id)).status == "disabled"
    [event] = await hooks.rows(DISABLED)
    assert (event["causation_id"], event["causation_depth"]) == (cause, 16)


async def test_an_endpoint_that_does_nothing_but_fail_is_disabled_after_a_while(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    sink.reply = answer(500)
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1, "failed")
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute(
            "UPDATE datalane.webhook_endpoints SET failing_since = $1, failures_in_a_row = 9",
            utc_now() - timedelta(days=6),
        )
    await hooks.pay(2)
    async with hooks.working():
        await eventually(lambda: _is_disabled(hooks))
    endpoint = await hooks.endpoint(made.endpoint.endpoint_id)
    assert (endpoint.status, endpoint.status_reason) == ("disabled", "failures")
    assert len(await hooks.rows("SELECT FROM datalane.events WHERE event_type = 'webhook.endpoint_disabled'")) == 1


async def _is_disabled(hooks: Hooks) -> bool:
    return bool(await hooks.rows("SELECT FROM datalane.webhook_endpoints WHERE status = 'disabled'"))


async def test_a_success_ends_a_run_of_failures(hooks: Hooks, sink: Sink) -> None:
    made = await hooks.create(sink.url)
    sink.reply = answer(500)
    await hooks.pay(1)
    async with hooks.working():
        await hooks.until(1, "failed")
        assert (await hooks.endpoint(made.endpoint.endpoint_id)).failing_since is not None
        sink.reply = answer(200)
        await hooks.pay(2)
        await sink.until(2)
        await eventually(lambda: _is_well(hooks))


async def _is_well(hooks: Hooks) -> bool:
    return bool(await hooks.rows("SELECT FROM datalane.webhook_endpoints WHERE failing_since IS NULL"))


async def test_an_endpoint_that_fails_is_asked_by_one_delivery_at_a_time(hooks: Hooks, sink: Sink) -> None:
    """A tenant's endpoint that hangs must not hold the worker's places, however much waits for it."""
    await hooks.create(sink.url)
    async with hooks.database.transaction(hooks.admin) as tx:
        await tx.execute("UPDATE datalane.webhook_endpoints SET failing_since = now(), failures_in_a_row = 5")
    sink.reply = hang
    await hooks.pay(*range(32))
    async with hooks.working():
        await eventually(lambda: _all_wait(hooks, 32))
    deliveries = await hooks.deliveries()
    assert sum(each.attempt_count for each in deliveries) == len(sink.taken) <= 3
    assert all(each.next_attempt_at is not None for each in deliveries)


async def _all_wait(hooks: Hooks, count: int) -> bool:
    rows = await hooks.rows("SELECT FROM datalane.webhook_deliveries WHERE next_attempt_at IS NOT NULL")
    return len(rows) == count


async def test_an_endpoint_that_hangs_holds_up_no_other(hooks: Hooks, sink: Sink) -> None:
    async with listening() as slow:
        slow.reply = hang
        await hooks.create(slow.url)
        await hooks.create(sink.url)
        await hooks.pay(*range(8))
        async with hooks.working():
            began = asyncio.get_running_loop().time()
            await sink.until(8)
            assert asyncio.get_running_loop().time() - began < 5


async def test_without_the_master_key_an_attempt_fails_and_nothing_is_sent(hooks: Hooks, sink: Sink, urls: Any) -> None:
    await hooks.create(sink.url)
    await hooks.pay(1)
    keyless = await Database.connect(urls.database_url)
    try:
        async with Hooks(keyless, hooks.admin, hooks.settings).working():
            [delivery] = await hooks.until(1, "failed")
    finally:
        await keyless.close()
    assert delivery.attempts[0].error_class == "master_key_missing"
    assert sink.taken == []
