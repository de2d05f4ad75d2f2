"""What a list of items may be asked for: two forms, one query, and every fault named where it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.errors import InvalidInput
from datalane.settings import Limits
from datalane.work.fields.definitions import FieldDefinition, Fields
from datalane.work.items.schemas import Item
from datalane.work.query.compose import COLUMNS, Composed, compose, compose_probe, compose_single
from datalane.work.query.params import parameters, read_params, typed
from datalane.work.query.schemas import ItemFilters, ItemQuery, applied, read_query
from datalane.work.query.shapes import SORTS, Samples, shapes
from datalane.work.query.walking import MOST_JOINS, Known

SOMEBODY = UUID("01990000-0000-7000-8000-000000000001")
FIELDS = Fields(
    {
        "team": FieldDefinition(uuid4(), "team", "text", index_state="ready"),
        "cost": FieldDefinition(uuid4(), "cost", "number", index_state="ready"),
        "done": FieldDefinition(uuid4(), "done", "boolean", index_state="ready"),
        "a.b": FieldDefinition(uuid4(), "a.b", "text", index_state="ready"),
    }
)


def faults(said: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as raised:
        read_query(said)
    assert all(error["message"] for error in raised.value.errors)
    assert len(str(raised.value)) < 1_000, "an error repeats no megabytes"
    return [(error["field"], error["code"]) for error in raised.value.errors]


def param_faults(query: str) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as raised:
        read_params(parse_qsl(query, keep_blank_values=True))
    return [(error["field"], error["code"]) for error in raised.value.errors]


def test_without_anything_said_it_is_the_first_page_by_the_newest_change() -> None:
    query = read_query({})
    assert (query.sort, query.page_size, query.cursor) == ("-updated_at", 25, None)
    assert applied(query.filters) == {"deleted": False}
    assert query == read_params([])


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ({"status": "active"}, {"status": {"eq": "active"}}),
        ({"status": ["draft", "active", "draft"]}, {"status": {"in": ["active", "draft"]}}),
        ({"assignee_id": None}, {"assignee_id": {"eq": None}}),
        ({"project_id": {"eq": None}}, {"project_id": {"eq": None}}),
        ({"priority": {"gte": 1, "lt": 4}}, {"priority": {"gte": 1, "lt": 4}}),
        ({"created_at": {"gte": "2026-03-01"}}, {"created_at": {"gte": "2026-03-01T00:00:00Z"}}),
        (
            {"updated_at": {"lt": "2026-03-01T01:00:00.000001+01:00"}},
            {"updated_at": {"lt": "2026-03-01T00:00:00.000001Z"}},
        ),
        ({"tags": {"any": ["b", " a ", "b"]}}, {"tags": {"any": ["a", "b"]}}),
        ({"metadata": {"n": [2, 1.0, 1, True]}}, {"metadata": {"n": {"in": [True, 1, 2]}}}),
        ({"deleted": True}, {}),
    ],
)
def test_a_filter_has_one_form_however_it_is_said(said: dict[str, Any], means: dict[str, Any]) -> None:
    told = applied(read_query({"filters": said}).filters)
    assert told == {**means, "deleted": said.get("deleted", False)}
    assert applied(read_query({"filters": told}).filters) == told, "what was applied can be asked again"
    json.dumps(told)


def test_a_moment_of_python_is_taken_with_its_offset() -> None:
    when = datetime(2026, 3, 1, tzinfo=UTC)
    assert applied(read_query({"filters": {"created_at": {"gt": when}}}).filters)["created_at"]["gt"].startswith(
        "2026-03-01"
    )
    assert faults({"filters": {"created_at": {"gt": when.replace(tzinfo=None)}}}) == [
        ("filters.created_at.gt", "invalid_moment")
    ]


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"filters": {"stat": "active"}}, ("filters.stat", "unknown_filter")),
        ({"filters": {"priority": {"above": 3}}}, ("filters.priority.above", "unknown_comparison")),
        ({"filters": {"tags": {"none": ["a"]}}}, ("filters.tags.none", "unknown_comparison")),
        ({"filters": {"metadata": {"a": {"near": 3}}}}, ("filters.metadata.a.near", "unknown_comparison")),
        ({"order": "x"}, ("order", "unknown_member")),
        ({"sort": "title"}, ("sort", "literal_error")),
        ({"sort": ["priority"]}, ("sort", "literal_error")),
        ({"page_size": 0}, ("page_size", "greater_than_equal")),
        ({"page_size": -1}, ("page_size", "greater_than_equal")),
        ({"page_size": "x"}, ("page_size", "int_type")),
        ({"page_size": True}, ("page_size", "int_type")),
        ({"page_size": 2.5}, ("page_size", "int_type")),
        ({"filters": {"status": "lost"}}, ("filters.status", "literal_error")),
        ({"filters": {"status": ["draft", "lost"]}}, ("filters.status.1", "literal_error")),
        ({"filters": {"status": []}}, ("filters.status", "too_short")),
        ({"filters": {"status": {}}}, ("filters.status", "empty_filter")),
        ({"filters": {"status": {"eq": None}}}, ("filters.status", "null_filter")),
        ({"filters": {"created_by": None}}, ("filters", "null_filter")),
        ({"filters": {"text": None}}, ("filters", "null_filter")),
        ({"filters": {"assignee_id": [None]}}, ("filters.assignee_id.0", "uuid_type")),
        ({"filters": {"assignee_id": "me"}}, ("filters.assignee_id", "uuid_parsing")),
        ({"filters": {"priority": 5}}, ("filters.priority", "less_than_equal")),
        ({"filters": {"priority": 2**70}}, ("filters.priority", "less_than_equal")),
        ({"filters": {"priority": {"in": 3}}}, ("filters.priority.in", "list_type")),
        ({"filters": {"priority": list(range(5)) * 21}}, ("filters.priority", "too_long")),
        ({"filters": {"created_at": "2026-03-01"}}, ("filters.created_at", "model_type")),
        ({"filters": {"created_at": {"gte": 0}}}, ("filters.created_at.gte", "invalid_moment")),
        (
            {"filters": {"created_at": {"gte": "0001-01-01T00:00:00+14:00"}}},
            ("filters.created_at.gte", "invalid_moment"),
        ),
        ({"filters": {"tags": ["a"]}}, ("filters.tags", "model_type")),
        ({"filters": {"tags": {"any": ["a"] * 51}}}, ("filters.tags.any", "too_long")),
        ({"filters": {"tags": {"any": ["a"] * 10_000}}}, ("filters.tags.any", "too_long")),
        ({"filters": {"tags": {"all": ["a\x00"]}}}, ("filters.tags.all.0", "invalid_text")),
        ({"filters": {"tags": {"all": [3]}}}, ("filters.tags.all.0", "string_type")),
        ({"filters": {"metadata": {}}}, ("filters.metadata", "too_short")),
        ({"filters": {"metadata": {str(n): n for n in range(11)}}}, ("filters.metadata", "too_long")),
        ({"filters": {"metadata": {"a": None}}}, ("filters.metadata.a", "null_filter")),
        ({"filters": {"metadata": {"a": [{}]}}}, ("filters.metadata.a.0", "wrong_type")),
        ({"filters": {"metadata": {"a": float("nan")}}}, ("filters.metadata.a", "wrong_type")),
        ({"filters": {"metadata": {"a": 2**53 + 1}}}, ("filters.metadata.a", "wrong_type")),
        ({"filters": {"metadata": {"a": "\ud800"}}}, ("filters.metadata.a", "invalid_text")),
        ({"filters": {"text": "a\x00"}}, ("filters.text", "invalid_text")),
        ({"filters": {"text": ["a"]}}, ("filters.text", "string_type")),
        ({"filters": {"deleted": "true"}}, ("filters.deleted", "bool_type")),
        ({"filters": []}, ("filters", "model_type")),
        ({"filters": None}, ("filters", "model_type")),
        ({"x" * 1_000_000: 1}, ("x" * 80 + "…", "unknown_member")),
        ([], ("query", "model_type")),
    ],
    ids=lambda value: re.sub(r"[^ -~]", "?", str(value))[:50],
)
def test_a_fault_is_named_where_it_stands(said: Any, fault: tuple[str, str]) -> None:
    assert faults(said) == [fault]


def test_all_faults_are_named_and_thousands_are_cut_off() -> None:
    assert faults({"filters": {"status": "x", "colour": 1}, "sort": "x"}) == [
        ("filters.status", "literal_error"),
        ("filters.colour", "unknown_filter"),
        ("sort", "literal_error"),
    ]
    assert len(faults({"filters": {f"filter{n}": n for n in range(5_000)}})) == 50


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("stat=active", ("query.stat", "unknown_filter")),
        ("filters.status=active", ("query.filters", "unknown_filter")),
        ("status=lost", ("query.status", "literal_error")),
        ("status.eq=lost", ("query.status.eq", "literal_error")),
        ("page_size=x", ("query.page_size", "int_type")),
        ("page_size=0", ("query.page_size", "greater_than_equal")),
        ("page_size=", ("query.page_size", "int_type")),
        ("page_size=1&page_size=2", ("query.page_size", "repeated_parameter")),
        ("text=a&text=b", ("query.text", "repeated_parameter")),
        ("priority.gte=1&priority.gte=2", ("query.priority.gte", "repeated_parameter")),
        ("priority=1&priority.eq=2", ("query.priority.eq", "repeated_parameter")),
        ("priority=%D9%A3", ("query.priority", "int_type")),
        ("deleted=1", ("query.deleted", "bool_type")),
        ("deleted=true&deleted.eq=true", ("query.deleted.eq", "unknown_parameter")),
        ("sort.by=x", ("query.sort.by", "unknown_parameter")),
        ("tags=red", ("query.tags", "unknown_comparison")),
        ("metadata=red", ("query.metadata", "unknown_parameter")),
        ("created_at=2026-03-01", ("query.created_at", "unknown_comparison")),
        ("status=null", ("query.status", "literal_error")),
        ("text=%00", ("query.text", "invalid_text")),
    ],
)
def test_a_parameter_that_says_nothing_possible_is_named(query: str, fault: tuple[str, str]) -> None:
    assert param_faults(query) == [fault]


def test_metadata_is_read_by_the_type_of_its_field() -> None:
    pairs = [
        ("metadata.cost.gte", "2"),
        ("metadata.cost.lt", "2.5"),
        ("metadata.done", "true"),
        ("metadata.team", "3"),
        ("metadata.team", "true"),
        ("metadata.a.b", "x"),
    ]
    read = typed(read_params(pairs), FIELDS)
    assert applied(read.filters)["metadata"] == {
        "cost": {"gte": 2, "lt": 2.5},
        "done": {"eq": True},
        "team": {"in": ["3", "true"]},
        "a.b": {"eq": "x"},
    }
    for value in ("three", "nan", "inf", "1e999", "", "9" * 400):
        left = typed(read_params([("metadata.cost", value)]), FIELDS)
        assert applied(left.filters)["metadata"]["cost"] == {"eq": value}, (
            "it is told apart from a number when composed"
        )


def outcome(read: Callable[[Any], ItemQuery], said: Any) -> ItemQuery | list[dict[str, Any]]:
    """The query, or what is wrong with it; anything else is raised."""
    try:
        return read(said)
    except InvalidInput as error:
        return error.errors


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)), max_size=6))
def test_whatever_the_parameters_are_they_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    assert outcome(read_params, pairs)


names = st.sampled_from(["status", "tags", "metadata", "priority", "text", "deleted", "sort", "cursor", "x", ""])
dotted = st.lists(names | st.sampled_from(["eq", "in", "gte", "any"]), min_size=1, max_size=4).map(".".join)


@given(st.lists(st.tuples(dotted, st.sampled_from(["active", "1", "null", "true", ""])), max_size=8))
def test_parameters_that_contradict_each_other_are_read_or_refused(pairs: list[tuple[str, str]]) -> None:
    assert outcome(read_params, pairs)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
some_filters = st.dictionaries(st.sampled_from([*ItemFilters.model_fields, "x"]), anything, max_size=4)


@given(anything | st.fixed_dictionaries({"filters": some_filters}))
def test_whatever_the_body_is_it_is_read_or_refused(said: Any) -> None:
    assert outcome(read_query, said)


# The statement -------------------------------------------------------------------------------------------------


def all_shapes() -> list[Any]:
    fields = {"text": ("team", "red"), "number": ("cost", 3), "boolean": ("done", True)}
    samples = Samples(SOMEBODY, SOMEBODY, SOMEBODY, datetime(2026, 3, 1, tzinfo=UTC), ("a", "b"), ("x", "y"), fields)
    return shapes(samples)


def statements() -> list[Composed]:
    """Every statement of every shape."""
    found = []
    for shape in all_shapes():
        probe = compose_probe(shape.query, FIELDS, SOMEBODY)
        found += [compose(shape.query, FIELDS, "english", SOMEBODY, Limits(), known=known) for known in Known]
        found += [Composed(*probe)] if probe else []
        found += compose_single(shape.query, FIELDS, "english", SOMEBODY, Limits())
    return found


def test_the_statement_has_each_parameter_once_and_no_value_in_its_text() -> None:
    for composed in statements():
        numbers = {int(number) for number in re.findall(r"\$(\d+)", composed.sql)}
        assert numbers == set(range(1, len(composed.args) + 1)), composed.sql
        assert str(SOMEBODY) not in composed.sql
        assert "'" not in composed.sql, "nothing is quoted, so nothing is a value"
        if composed.filter_sql is not None:
            filtered = {int(number) for number in re.findall(r"\$(\d+)", composed.filter_sql)}
            assert filtered == set(range(1, len(composed.filter_args) + 1)), composed.sql


def test_every_table_of_the_statements_is_asked_for_one_workspace() -> None:
    for composed in statements():
        tables = len(re.findall(r"(?:FROM|JOIN) datalane\.", composed.sql))
        assert composed.sql.count("workspace_id = $1::uuid") == tables, composed.sql


def test_the_shapes_cover_every_filter_and_every_order() -> None:
    found = all_shapes()
    assert {shape.query.sort for shape in found} == set(SORTS)
    assert {name for shape in found for name in shape.query.filters.model_fields_set} == set(ItemFilters.model_fields)


def test_the_planner_joins_no_more_than_it_can_plan() -> None:
    tags = [f"t{n}" for n in range(50)]
    metadata = {"team": "a", "cost": 1, "done": True}
    query = read_query({"filters": {"tags": {"all": tags, "any": tags}, "metadata": metadata}})
    sql = compose(query, FIELDS, "english", SOMEBODY, Limits()).filter_sql or ""
    assert sql.count("EXISTS (") == 54
    assert sql.count("EXISTS (") - sql.count(" OFFSET 0)") == MOST_JOINS


def test_a_page_has_the_columns_of_an_item() -> None:
    assert set(COLUMNS) == set(Item.model_fields)


def test_the_parameters_that_are_described_can_be_sent() -> None:
    samples = {"array": "", "string": "2026-03-01", "integer": "1", "boolean": "true"}
    lists = {
        "status": "draft",
        "project_id": "null",
        "assignee_id": "null",
        "created_by": str(SOMEBODY),
        "priority": "1",
    }
    for described in parameters():
        schema, name = described["schema"], described["name"]
        value = (
            lists.get(name)
            or schema.get("default")
            or ("red" if schema["type"] == "array" else samples[schema["type"]])
        )
        query = read_params([(name, str(value).lower())])
        said = query.filters.model_fields_set | query.model_fields_set - {"filters"}
        assert said == {name.partition(".")[0]}
