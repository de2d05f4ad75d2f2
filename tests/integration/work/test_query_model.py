"""Lists of items against a model of them in plain Python: random items, random queries, on the real database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.work.board import Board, Row, at, lay, people

from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared
from datalane.work.items.schemas import Item
from datalane.work.query import walking
from datalane.work.query.compose import plans_of
from datalane.work.query.params import read_params, typed
from datalane.work.query.schemas import ItemPage, ItemQuery, read_query
from datalane.work.query.service import list_items

WORDS = ("heron", "reed", "lake", "stone")
TAGS = ("red", "green", "blue", "ünïcödé tag")
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda has, asked: has == asked,
    "in": lambda has, asked: has in asked,
    "gt": lambda has, asked: has is not None and has > asked,
    "gte": lambda has, asked: has is not None and has >= asked,
    "lt": lambda has, asked: has is not None and has < asked,
    "lte": lambda has, asked: has is not None and has <= asked,
}
Plan = tuple[list[Row], list[dict[str, Any]]]


@dataclass
class Ground:
    """Boards on one loop; each example takes the next one, so that all before it are other workspaces."""

    runner: asyncio.Runner
    boards: Iterator[Board]
    users: list[UUID]


@pytest.fixture
def ground(cluster: EmbeddedPostgres, urls: Prepared) -> Iterator[Ground]:
    workspaces = [UUID(int=0x01990000000070008000000000000000 + number) for number in range(3_000)]
    users = people(cluster.url(urlsplit(urls.database_url).path.removeprefix("/")), workspaces, 3)
    with asyncio.Runner() as runner:
        database = runner.run(Database.connect(urls.database_url, size=2))
        yield Ground(runner, (runner.run(lay(database, each, users)) for each in workspaces), users)
        runner.run(database.close())


moments = st.integers(0, 6).map(at)
texts = st.lists(st.sampled_from(WORDS), max_size=3).map(" ".join)
metadata = st.fixed_dictionaries(
    {},
    optional={
        "team": st.sampled_from(["ant", "bee", "cat"]),
        "cost": st.sampled_from([-1, 0, 1.5, 2]),
        "done": st.booleans(),
        "due": st.sampled_from(["2026-03-01", "2026-03-01T12:00:00+02:00", "2026-03-02"]),
    },
)


def items(users: list[UUID], projects: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows, but for their projects, which are numbers."""
    one = st.fixed_dictionaries(
        {
            "project": st.none() | st.integers(0, projects - 1),
            "title": texts.map(lambda text: text or "nothing"),
            "description": texts,
            "status": st.sampled_from(["draft", "active", "archived"]),
            "priority": st.integers(0, 4),
            "assignee_id": st.none() | st.sampled_from(users),
            "tags": st.lists(st.sampled_from(TAGS), max_size=3, unique=True).map(tuple),
            "metadata": metadata,
            "created_at": moments,
            "updated_at": moments,
            "deleted": st.sampled_from([False, False, False, True]),
            "created_by": st.sampled_from(users),
        }
    )
    return st.lists(one, max_size=24)


def compared(values: st.SearchStrategy[Any], *names: str) -> st.SearchStrategy[Any]:
    lists = st.lists(values, min_size=1, max_size=3)
    return st.fixed_dictionaries({}, optional={name: lists if name == "in" else values for name in names}).filter(bool)


def either(values: st.SearchStrategy[Any], *names: str) -> st.SearchStrategy[Any]:
    return values | st.lists(values, min_size=1, max_size=3) | compared(values, *names)


RANGE = ("gt", "gte", "lt", "lte")
ANY = ("eq", "in", *RANGE)


def queries(users: list[UUID]) -> st.SearchStrategy[dict[str, Any]]:
    """As JSON; a project is a number."""
    ids = st.sampled_from([str(user) for user in users])
    dates = moments.map(datetime.isoformat)
    tags = st.lists(st.sampled_from([*TAGS, "nobody's"]), min_size=1, max_size=6)
    filters = {
        "status": either(st.sampled_from(["draft", "active", "archived"]), "eq", "in"),
        "project_id": st.none() | st.integers(0, 1),
        "assignee_id": st.none() | either(ids, "eq", "in"),
        "created_by": either(ids, "eq", "in"),
        "priority": either(st.integers(0, 4), *ANY),
        "created_at": compared(dates, *RANGE),
        "updated_at": compared(dates, *RANGE),
        "tags": st.fixed_dictionaries({}, optional={"any": tags, "all": tags}).filter(bool),
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "team": either(st.sampled_from(["ant", "bee", "cow"]), *ANY),
                "cost": either(st.sampled_from([-1, 0, 0.5, 1.5, 2]), *ANY),
                "done": either(st.booleans(), "eq", "in"),
                "due": either(st.sampled_from(["2026-03-01", "2026-03-01T10:00:00Z"]), *ANY),
            },
        ).filter(bool),
        "text": st.lists(st.sampled_from([*WORDS, "Herons"]), min_size=1, max_size=3).map(
            lambda said: " the ".join(said)
        ),
        "deleted": st.booleans(),
    }
    few = st.lists(st.sampled_from(sorted(filters)), max_size=3, unique=True)
    return st.fixed_dictionaries(
        {
            "filters": few.flatmap(lambda names: st.fixed_dictionaries({name: filters[name] for name in names})),
            "sort": st.sampled_from(
                ["updated_at", "-updated_at", "created_at", "-created_at", "priority", "-priority"]
            ),
            "page_size": st.sampled_from([1, 2, 3, 7, 100]),
        }
    )


def model(rows: list[Row], query: dict[str, Any]) -> list[Row]:
    """What the query lets through, in its order."""
    filters, column = query["filters"], query["sort"].removeprefix("-")
    chosen = [row for row in rows if row.deleted is filters.get("deleted", False) and let_through(row, filters)]
    return sorted(
        chosen, key=lambda row: (getattr(row, column), row.item_id.int), reverse=query["sort"].startswith("-")
    )


def let_through(row: Row, filters: dict[str, Any]) -> bool:
    return all(matches(row, name, asked) for name, asked in filters.items() if name != "deleted")


def matches(row: Row, name: str, asked: Any) -> bool:
    match name:
        case "text":
            words = {word.lower().removesuffix("s") for word in asked.split()} - {"the"}
            return words <= set(f"{row.title} {row.description}".split())
        case "tags":
            some = "any" not in asked or bool({*asked["any"]} & {*row.tags})
            return some and {*asked.get("all", ())} <= {*row.tags}
        case "metadata":
            return all(key in row.metadata and in_field(key, row.metadata[key], each) for key, each in asked.items())
        case "created_at" | "updated_at":
            return holds(getattr(row, name), day(asked))
        case "project_id" | "assignee_id" | "created_by":
            has = getattr(row, name)
            return holds(None if has is None else str(has), asked)
    return holds(getattr(row, name), asked)


def in_field(key: str, has: Any, asked: Any) -> bool:
    return holds(day(has), day(asked)) if key == "due" else holds(has, asked)


def holds(has: Any, asked: Any) -> bool:
    if isinstance(asked, dict):
        return all(COMPARE[name](has, value) for name, value in asked.items())
    return has in asked if isinstance(asked, list) else has == asked


def day(said: Any) -> Any:
    """Dates as moments, however deep."""
    if isinstance(said, dict):
        return {name: day(value) for name, value in said.items()}
    if isinstance(said, list):
        return [day(value) for value in said]
    read = datetime.fromisoformat(said)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def as_pairs(query: dict[str, Any]) -> list[tuple[str, str]]:
    """The query string of a query."""
    pairs = [(name, str(query[name])) for name in ("sort", "page_size")]
    for name, asked in query["filters"].items():
        if name == "metadata":
            pairs += [pair for key, each in asked.items() for pair in written(f"metadata.{key}", each)]
        else:
            pairs += written(name, asked)
    return pairs


def written(name: str, asked: Any) -> list[tuple[str, str]]:
    if isinstance(asked, dict):
        return [pair for comparison, value in asked.items() for pair in written(f"{name}.{comparison}", value)]
    if isinstance(asked, list):
        full = name if name.endswith((".in", ".any", ".all")) else f"{name}.in"
        return [(full, plain(value)) for value in asked]
    return [(name, plain(asked))]


def plain(value: Any) -> str:
    words = {"None": "null", "True": "true", "False": "false"}
    return words.get(str(value), str(value))


async def all_pages(board: Board, query: ItemQuery, exact_count: int) -> list[ItemPage]:
    pages: list[ItemPage] = []
    while not pages or pages[-1].next_cursor:
        assert len(pages) <= 24, "a list ends"
        cursor = pages[-1].next_cursor if pages else None
        async with board.database.transaction(board.context, plans=plans_of(query)) as tx:
            tx.limits = tx.limits.model_copy(update={"exact_count": exact_count})
            pages.append(await list_items(tx, query.model_copy(update={"cursor": cursor})))
    return pages


def check_item(item: Item, row: Row) -> None:
    assert (item.title, item.status, item.priority, item.tags) == (row.title, row.status, row.priority, list(row.tags))
    assert (item.created_at, item.updated_at) == (row.created_at, row.updated_at)
    assert (item.metadata, item.assignee_id, item.project_id) == (dict(row.metadata), row.assignee_id, row.project_id)
    assert (item.deleted_at is not None, item.created_by_actor_id) == (row.deleted, row.created_by)


async def compare(board: Board, drawn: list[dict[str, Any]], asked: list[dict[str, Any]], exact_count: int) -> None:
    """Every page of every query is the model's, and so is its count, unless it is said to be estimated."""
    rows = []
    for one in drawn:
        project = one.pop("project")
        rows.append(Row(project_id=None if project is None else board.projects[project], **one))
    await board.add(*rows)
    known = {row.item_id: row for row in rows}
    for query in asked:
        if (project := query["filters"].get("project_id")) is not None:
            query["filters"]["project_id"] = str(board.projects[project])
        expected = model(rows, query)
        read = read_query(query)
        assert typed(read_params(as_pairs(query)), board.fields) == read, "both ways to ask are one query"
        pages = await all_pages(board, read, exact_count)
        shown = [item for page in pages for item in page.data]
        assert [item.item_id for item in shown] == [row.item_id for row in expected], query
        for item in shown:
            check_item(item, known[item.item_id])
        assert not any(page.text_bounded for page in pages)
        for page in pages:
            if page.total_count_estimated:
                assert min(page.total_count, len(expected)) > exact_count, query
            else:
                assert page.total_count == len(expected), query
        assert all(len(page.data) == page.page_size for page in pages[:-1])


def assert_as_modelled(ground: Ground, examples: int, exact_count: int = 1_000) -> None:
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(items(ground.users, 2), st.lists(queries(ground.users), min_size=1, max_size=8))
    def same(drawn: list[dict[str, Any]], asked: list[dict[str, Any]]) -> None:
        ground.runner.run(compare(next(ground.boards), [dict(one) for one in drawn], asked, exact_count))

    same()


def test_a_list_is_what_a_model_of_it_says(ground: Ground) -> None:
    assert_as_modelled(ground, 80)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_list_is_the_same_when_a_walk_or_the_count_ends_early(
    ground: Ground, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, most in {
        "MOST_STEPS": steps,
        "MOST_LOOKUPS": steps,
        "MOST_LOOKUPS_OF_SEVERAL": steps,
        "MOST_MISSED": steps,
        "FEW": 2,
    }.items():
        monkeypatch.setattr(walking, name, most)
    assert_as_modelled(ground, 30, exact_count=steps)


@pytest.mark.soak
def test_a_list_is_what_a_model_of_it_says_many_times(ground: Ground) -> None:
    assert_as_modelled(ground, 1_500)
