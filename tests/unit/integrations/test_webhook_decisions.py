"""What an answer means and what comes next, from values alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.integrations.webhooks.deliveries.decisions import (
    EXCERPT_BYTES,
    FAILURES_TO_DISABLE,
    MOST_RETRY_AFTER,
    UNTIL_FREE,
    Outcome,
    decide,
    excerpt_of,
    is_given_up,
    read_answer,
    wait_for_others,
)
from datalane.integrations.webhooks.deliveries.messages import is_about_delivery, write_message
from datalane.kit.ids import uuid7
from datalane.kit.outbound import Answer
from datalane.settings import Pauses, WebhookSettings

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SETTINGS = WebhookSettings()
FAILED = Outcome("server_error", 500)


def answered(status: int, **headers: str) -> Outcome:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_answer(Answer(status, told, b"", truncated=False), NOW, 1.0)


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (200, None),
        (299, None),
        (300, "redirect"),
        (308, "redirect"),
        (400, "client_error"),
        (410, "gone"),
        (429, "rate_limited"),
        (500, "server_error"),
        (599, "server_error"),
        (199, "server_error"),
    ],
)
def test_a_status_has_a_class(status: int, error_class: str | None) -> None:
    outcome = answered(status)
    assert (outcome.error_class, outcome.delivered, outcome.gone) == (error_class, error_class is None, status == 410)


def test_the_pauses_are_those_of_the_settings_and_then_it_is_a_dead_letter() -> None:
    seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000]
    for failures, pause in enumerate(seconds):
        following = decide(failures, FAILED, False, SETTINGS, 0.5)
        assert (following.status, following.pause) == ("failed", timedelta(seconds=pause))
    assert decide(len(seconds), FAILED, False, SETTINGS, 0.5).status == "dead_letter"
    assert decide(0, Outcome(None, 200), False, SETTINGS, 0.5).status == "delivered"


@given(draw=st.floats(min_value=0, max_value=1, exclude_max=True), failures=st.integers(min_value=0, max_value=6))
def test_a_pause_is_within_a_fifth_of_its_own(draw: float, failures: int) -> None:
    pause = decide(failures, FAILED, False, SETTINGS, draw).pause
    assert pause is not None
    assert 0.8 <= pause / SETTINGS.pauses.each[failures] <= 1.2


def test_what_fails_at_a_disabled_endpoint_is_held_unless_it_was_the_last_time() -> None:
    assert decide(0, FAILED, True, SETTINGS, 0.5).held
    assert not decide(0, FAILED, False, SETTINGS, 0.5).held
    assert decide(7, FAILED, True, SETTINGS, 0.5).status == "dead_letter"


def test_waiting_for_a_name_to_be_looked_up_counts_for_nothing_and_goes_on_soon() -> None:
    busy = Outcome("lookup_busy")
    assert (busy.delivered, busy.counts, FAILED.counts) == (False, False, True)
    for failures in (0, 7):
        following = decide(failures, busy, False, SETTINGS, 0.5)
        assert (following.status, following.pause) == ("failed", UNTIL_FREE)
    assert decide(0, busy, True, SETTINGS, 0.5).held


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("120", timedelta(seconds=120)),
        (" 7 ", timedelta(seconds=7)),
        ("Tue, 01 Jan 2030 00:10:00 GMT", timedelta(minutes=10)),
        ("Mon, 31 Dec 2029 00:00:00 GMT", timedelta(0)),
        ("soon", None),
        ("-5", None),
        ("9" * 50, None),
        ("", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(header: str, pause: timedelta | None) -> None:
    assert answered(503, retry_after=header).retry_after == pause


def test_retry_after_lengthens_a_pause_and_shortens_none() -> None:
    def pause(seconds: int) -> timedelta | None:
        return decide(1, Outcome("rate_limited", 429, None, timedelta(seconds=seconds)), False, SETTINGS, 0.5).pause

    assert pause(10) == timedelta(seconds=300)
    assert pause(600) == timedelta(seconds=600)
    assert pause(10**8) == MOST_RETRY_AFTER


@pytest.mark.parametrize(
    ("failing", "wait"),
    [
        (None, 15),
        (timedelta(0), 15),
        (timedelta(minutes=2), 60),
        (timedelta(hours=2), 1_800),
        (timedelta(days=4), 1_800),
    ],
)
def test_what_lets_others_go_first_looks_again_less_and_less_often(failing: timedelta | None, wait: int) -> None:
    since = None if failing is None else NOW - failing
    assert wait_for_others(since, NOW, 0.5) == timedelta(seconds=wait)
    assert wait_for_others(since, NOW, 0.0) == timedelta(seconds=wait / 2)


def test_an_endpoint_is_given_up_after_long_and_often_enough() -> None:
    long, short = NOW - SETTINGS.disable_after, NOW - SETTINGS.disable_after + timedelta(seconds=1)
    assert is_given_up(long, FAILURES_TO_DISABLE, NOW, SETTINGS)
    assert not is_given_up(short, 10**6, NOW, SETTINGS)
    assert not is_given_up(long, FAILURES_TO_DISABLE - 1, NOW, SETTINGS)


@given(st.binary(max_size=3 * EXCERPT_BYTES))
def test_an_excerpt_is_short_text_that_the_database_holds(body: bytes) -> None:
    excerpt = excerpt_of(body)
    assert len(excerpt.encode()) <= EXCERPT_BYTES
    assert "\x00" not in excerpt


@pytest.mark.parametrize("text", ["", "5,,6", "0", "-1", "nan", "inf", "600000", "5;6", "1e99"])
def test_pauses_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="seconds with commas"):
        WebhookSettings.model_validate({"pauses": text})


def test_pauses_are_written_as_they_are_read() -> None:
    assert str(Pauses.read("0.5, 3600")) == "0.5,3600"


def test_a_message_is_the_same_bytes_each_time() -> None:
    event_id = uuid7()
    said = ("invoice.paid", 1, NOW, {"b": 1, "a": [None, "ü"]})
    once = write_message(*said, event_id=event_id, subject_id="order 7")
    assert once == write_message(*said, event_id=event_id, subject_id="order 7")
    assert once.startswith('{"type":"invoice.paid","timestamp":"2030-01-01T00:00:00Z","data":{"b":1,"a":[null,"ü"]}')
    assert "subject_id" not in write_message(*said)


def test_what_a_delivery_caused_about_itself_is_known() -> None:
    endpoint_id = uuid7()
    assert is_about_delivery("webhook.endpoint_disabled", {"endpoint_id": str(endpoint_id)}, endpoint_id)
    assert not is_about_delivery("webhook.endpoint_disabled", {"endpoint_id": str(uuid7())}, endpoint_id)
    assert is_about_delivery("job.dead_lettered", {"kind": "webhook.deliver"}, endpoint_id)
    assert not is_about_delivery("job.dead_lettered", {"kind": "reports"}, endpoint_id)
    assert not is_about_delivery("invoice.paid", [1], endpoint_id)
