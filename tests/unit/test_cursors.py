"""Cursors say where a list goes on, in one workspace; anything else is refused."""

from __future__ import annotations

import string
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.errors import InvalidInput
from datalane.kit.cursors import make_cursor, read_cursor

HERE, POSITION = uuid4(), uuid4()
URL_SAFE = string.ascii_letters + string.digits + "-_"
ids = st.uuids()


def refused(cursor: str, listing: str = "documents", workspace_id: UUID = HERE) -> InvalidInput:
    with pytest.raises(InvalidInput) as raised:
        read_cursor(listing, workspace_id, cursor)
    return raised.value


@given(workspace_id=ids, position=ids, listing=st.text(min_size=1))
def test_a_cursor_says_where_the_list_goes_on(workspace_id: UUID, position: UUID, listing: str) -> None:
    cursor = make_cursor(listing, workspace_id, position)
    assert set(cursor) <= set(URL_SAFE)
    assert read_cursor(listing, workspace_id, cursor) == position


def test_without_a_cursor_the_list_begins_at_its_beginning() -> None:
    assert read_cursor("documents", HERE, None) is None


@given(st.uuids())
def test_a_cursor_of_another_workspace_is_refused(there: UUID) -> None:
    if there != HERE:
        error = refused(make_cursor("documents", there, POSITION))
        assert str(there) not in str(error)
        assert str(POSITION) not in str(error)


def test_a_cursor_of_another_list_is_refused() -> None:
    assert refused(make_cursor("members", HERE, POSITION), "documents").code == "invalid_input"


@given(st.data())
def test_a_cursor_with_any_one_character_changed_is_refused(data: st.DataObject) -> None:
    cursor = make_cursor("documents", HERE, POSITION)
    place = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from(sorted(set(URL_SAFE) - {cursor[place]})))
    assert refused(cursor[:place] + other + cursor[place + 1 :]).code == "invalid_input"


@given(st.integers(0, 54))
def test_a_cursor_cut_short_is_refused(length: int) -> None:
    assert refused(make_cursor("documents", HERE, POSITION)[:length]).code == "invalid_input"


@given(st.text())
def test_no_text_is_a_cursor(text: str) -> None:
    assert refused(text).code == "invalid_input"


@pytest.mark.parametrize(
    "text",
    ["", " ", "\x00", "é", "=", "A" * 100_000, str(UUID(int=7)), "../../etc/passwd", "\ud800", "٣" * 55],
    ids=lambda text: ascii(text)[:20],
)
def test_nonsense_is_refused_and_not_repeated(text: str) -> None:
    error = refused(text)
    assert (error.status, error.code) == (422, "invalid_input")
    assert error.errors == [{"field": "query.cursor", "message": str(error), "code": "invalid_cursor"}]
    assert len(str(error)) < 200


def test_padding_and_blanks_around_a_cursor_are_refused() -> None:
    cursor = make_cursor("documents", HERE, POSITION)
    for changed in (cursor + "=", cursor + "\n", " " + cursor, cursor + cursor):
        assert refused(changed).code == "invalid_input"


def test_a_version_that_is_not_known_is_refused() -> None:
    """A later version, signed for example, is told apart by its first byte."""
    assert make_cursor("documents", HERE, POSITION)[0] == "A"
    assert refused("B" + make_cursor("documents", HERE, POSITION)[1:]).code == "invalid_input"
