"""A page is cut from rows of which one more was asked for, and goes on after its last row."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from datalane.contracts.context import Context
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput

ROWS = [{"name": f"row {number}", "row_id": uuid4()} for number in range(4)]


def opened() -> Transaction:
    return Transaction(None, Context.system(uuid4()))


def place(row: dict[str, Any]) -> list[Any]:
    return [row["name"], row["row_id"]]


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_what_fits_is_the_last_page(count: int) -> None:
    assert opened().cut_page("rows", ROWS[:count], 3, place) == (ROWS[:count], None)


async def test_a_page_goes_on_after_its_last_row() -> None:
    tx = opened()
    page, following = tx.cut_page("rows", ROWS, 3, place)
    assert page == ROWS[:3]
    assert tx.read_cursor("rows", following) == ("row 2", str(ROWS[2]["row_id"]))


async def test_an_id_is_read_as_it_was() -> None:
    tx = opened()
    _, following = tx.cut_page("ids", ROWS, 1, lambda row: [row["row_id"]])
    assert tx.read_id_cursor("ids", following) == ROWS[0]["row_id"]
    assert isinstance(tx.read_id_cursor("ids", following), UUID)
    assert tx.read_id_cursor("ids", None) is None
    with pytest.raises(InvalidInput):
        tx.read_id_cursor("rows", following)
