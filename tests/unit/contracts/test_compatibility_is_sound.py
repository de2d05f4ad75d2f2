"""What is called compatible is compatible: a validator that takes no part in the comparison judges instances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.unit.contracts.generated_schemas import VALUES, Schema, declared, documents, edited, sample

from datalane.contracts.compatibility import Difference, Direction, compare

UNHURRIED = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
INSTANCES = 6
Compare = Callable[[Schema, Schema, Direction], list[Difference]]


def validator(schema: Schema) -> Any:
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def refuse_nothing_sent(data: st.DataObject, writer: Schema, reader: Schema) -> None:
    """What hypothesis makes of the writer's schema, and the writer may send, passes the reader."""
    written, sent, read = validator(writer), validator(declared(writer)), validator(reader)
    for _ in range(INSTANCES):
        value = data.draw(st.one_of(st.composite(lambda draw: sample(draw, writer, writer))(), VALUES), "instance")
        if written.is_valid(value) and sent.is_valid(value):
            assert read.is_valid(value), f"{value!r} is sent and refused"


def judge(data: st.DataObject, compared: Compare) -> None:
    old = data.draw(documents(), "old")
    new = data.draw(edited(old), "new")
    harmless = {way for way in Direction if not any(each.breaking for each in compared(old, new, way))}
    if harmless & {Direction.REQUEST, Direction.EVENT}:
        refuse_nothing_sent(data, old, new)
    if harmless & {Direction.RESPONSE, Direction.EVENT}:
        refuse_nothing_sent(data, new, old)


@given(st.data())
@UNHURRIED
def test_what_is_compatible_in_a_direction_passes_in_that_direction(data: st.DataObject) -> None:
    judge(data, compare)


@pytest.mark.soak
@given(st.data())
@settings(UNHURRIED, max_examples=1_000)
def test_what_is_compatible_passes_over_many_schemas(data: st.DataObject) -> None:
    judge(data, compare)


def test_the_judge_catches_a_comparison_that_sees_nothing() -> None:
    @given(st.data())
    @settings(UNHURRIED, phases=[Phase.generate], database=None, derandomize=True)
    def judged(data: st.DataObject) -> None:
        judge(data, lambda old, new, way: [])

    with pytest.raises(BaseException, match="is sent and refused"):
        judged()


@given(documents())
@settings(UNHURRIED, max_examples=40)
def test_a_schema_is_compatible_with_itself(schema: Schema) -> None:
    assert compare(schema, schema, Direction.EVENT) == []
