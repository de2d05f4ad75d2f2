"""The page on lists of items: its examples are read, and nothing is left out of it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

from datalane.work.fields.definitions import FieldDefinition, Fields, FieldType
from datalane.work.query import indexed, params, schemas, service
from datalane.work.query.params import read_params, typed
from datalane.work.query.schemas import ItemFilters, ItemPage, applied, read_query

PAGE = (Path(__file__).parents[3] / "docs/reference/items-query.md").read_text()
TYPES: dict[str, FieldType] = {"team": "text", "cost": "number", "done": "boolean", "due": "date"}
FIELDS = Fields({key: FieldDefinition(uuid4(), key, kind, index_state="ready") for key, kind in TYPES.items()})


def test_every_filter_has_an_example_that_asks_the_same_both_ways() -> None:
    rows = re.findall(r"^\| `(\w+)`[^|]*\| `([^`]+)` \| `(\{[^`]+\})` \|$", PAGE, re.MULTILINE)
    assert {name for name, _, _ in rows} == set(ItemFilters.model_fields)
    for name, query_string, body in rows:
        read = read_query({"filters": json.loads(body)})
        assert applied(typed(read_params(parse_qsl(query_string)), FIELDS).filters) == applied(read.filters), (
            query_string
        )
        assert read.filters.model_fields_set == {name}


def test_the_first_example_asks_the_same_both_ways() -> None:
    url, body = re.findall(r'"\$URL(/items/list[^"]+)"', PAGE)[0], re.findall(r"-d '(\{.+\})'", PAGE)[0]
    assert typed(read_params(parse_qsl(urlsplit(url).query)), FIELDS) == read_query(json.loads(body))


def test_every_member_of_the_answer_and_every_code_is_on_the_page() -> None:
    assert all(f"`{member}`" in PAGE for member in ItemPage.model_fields)
    sources = [Path(str(module.__file__)).read_text() for module in (schemas, params, indexed, service)]
    ours = r'"((?:unknown|repeated|null|empty|invalid|wrong|renamed|not|index|no|too)_[a-z]+(?:_[a-z]+)?)"'
    codes = {code for source in sources for code in re.findall(ours, source)}
    assert len(codes) >= 12
    assert [code for code in sorted(codes) if f"`{code}`" not in PAGE] == []
