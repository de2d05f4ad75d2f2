"""Trace context: what is taken from a header, and whose it is."""

from __future__ import annotations

import pytest

from datalane.kit import tracing
from datalane.kit.trace_mode import configure_tracing
from datalane.kit.tracing import Kind, current_traceparent, read_traceparent, trace_ids, unit

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize("header", [GIVEN, f" {GIVEN} ", f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what-comes"])
def test_a_header_of_this_or_a_later_version_is_understood(header: str) -> None:
    assert read_traceparent(header) == GIVEN


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"{GIVEN}'; DROP TABLE jobs",
        f"00-{TRACE}-{SPAN[:-1]}é-01",
    ],
)
def test_a_malformed_header_is_none(header: str) -> None:
    assert read_traceparent(header) is None


def test_a_unit_has_its_callers_trace_and_leaves_none_behind() -> None:
    with unit("outer", Kind.SERVER, GIVEN):
        assert (current_traceparent(), trace_ids()) == (GIVEN, (TRACE, SPAN))
        with unit("untraced", Kind.CONSUMER, None):
            assert trace_ids() is None
        assert current_traceparent() == GIVEN
    assert current_traceparent() is None


def test_nothing_is_recorded_unless_somebody_asks_for_it() -> None:
    configure_tracing("pass_on")
    assert not tracing.records()
