"""Pure decisions of the kit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.errors import IllegalTransition
from datalane.kit.ids import first_uuid7, uuid7
from datalane.kit.lifecycle import Lifecycle
from datalane.kit.retry import RetryPolicy, retry_delay

LIGHT = Lifecycle("light", "off", {"off": frozenset({"on"}), "on": frozenset({"off", "broken"}), "broken": frozenset()})


@given(st.integers(1, 5_000), st.floats(0, 1, exclude_max=True))
def test_a_delay_is_never_negative_and_never_above_the_cap(attempt: int, draw: float) -> None:
    policy = RetryPolicy(cap=timedelta(minutes=1))
    assert timedelta() <= retry_delay(policy, attempt, draw) <= policy.cap


@given(st.integers(1, 8))
def test_the_bound_of_the_delay_doubles_with_each_attempt(attempt: int) -> None:
    policy = RetryPolicy(base=timedelta(seconds=1), cap=timedelta(hours=1))
    assert retry_delay(policy, attempt, 0.5) == timedelta(seconds=2 ** (attempt - 1)) / 2


def test_a_lifecycle_names_the_states_it_would_allow() -> None:
    with pytest.raises(IllegalTransition, match="light cannot go from off to broken; allowed: on"):
        LIGHT.check("off", "broken")
    with pytest.raises(IllegalTransition, match="none, it is terminal"):
        LIGHT.check("broken", "on")


def test_a_lifecycle_knows_where_a_state_comes_from() -> None:
    assert LIGHT.sources("off") == ["on"]
    assert LIGHT.terminal == {"broken"}
    assert LIGHT.check_clause() == "status IN ('off', 'on', 'broken')"


def test_a_lifecycle_with_a_state_that_has_no_row_is_refused() -> None:
    with pytest.raises(ValueError, match="lost"):
        Lifecycle("bad", "a", {"a": frozenset({"lost"})})


def test_ids_are_version_7_and_sort_by_time() -> None:
    first, second = uuid7(), uuid7()
    assert (first.version, first.variant) == (7, "specified in RFC 4122")
    assert first.int >> 80 <= second.int >> 80


def test_the_first_id_of_a_moment_is_no_greater_than_any_made_then_and_greater_than_those_before() -> None:
    made = uuid7()
    moment = datetime.fromtimestamp((made.int >> 80) / 1000, UTC)
    assert first_uuid7(moment) <= made < first_uuid7(moment + timedelta(milliseconds=1))
    assert first_uuid7(moment).version == 7
    assert (
        first_uuid7(datetime(1, 1, 2, tzinfo=UTC)) < first_uuid7(moment) < first_uuid7(datetime(9999, 1, 1, tzinfo=UTC))
    )
