"""Cursors say where a list goes on, in one workspace; whatever the lane did not make is refused."""

from __future__ import annotations

import base64
import hashlib
import string
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.errors import InvalidInput
from datalane.kit.cursors import MOST_CHARACTERS, Cursors

OURS = Cursors(b"the key of this lane")
HERE, PLACE = uuid4(), ("2026-01-31T08:00:00+00:00", str(uuid4()))
URL_SAFE = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
DAMAGED = "the cursor is damaged or of another list"
text = st.text(st.characters(exclude_categories=["Cs"]))
scalars = text | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | st.none()
positions = st.lists(scalars, max_size=4).map(tuple)


def assert_refused(cursor: str, listing: str = "documents", home: UUID = HERE, cursors: Cursors = OURS) -> InvalidInput:
    with pytest.raises(InvalidInput) as raised:
        cursors.read(listing, home, cursor)
    error = raised.value
    assert (error.status, error.code) == (422, "invalid_input")
    assert error.errors == [{"field": "query.cursor", "message": str(error), "code": "invalid_cursor"}]
    assert len(str(error)) < 200
    return error


def assert_damaged(cursor: str, **where: Any) -> None:
    assert str(assert_refused(cursor, **where)).startswith(DAMAGED)


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decoded(cursor: str) -> bytes:
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


# What the lane made -----------------------------------------------------------------------------------------------


@given(home=st.uuids(), position=positions, listing=text, key=st.binary(min_size=1))
def test_a_cursor_gives_back_the_position_that_it_was_made_of(
    home: UUID, position: tuple[Any, ...], listing: str, key: bytes
) -> None:
    cursor = Cursors(key).make(listing, home, *position)
    assert set(cursor) <= set(URL_SAFE)
    found = Cursors(key).read(listing, home, cursor)
    assert found is not None
    assert found == position
    assert [type(value) for value in found] == [type(value) for value in position]


def test_without_a_cursor_the_list_begins_at_its_beginning() -> None:
    assert OURS.read("documents", HERE, None) is None


def test_the_longest_title_in_the_widest_script_makes_a_cursor_that_is_read() -> None:
    position = ("\U0001f600" * 500, str(uuid4()))
    assert OURS.read("documents", HERE, OURS.make("documents", HERE, *position)) == position


@pytest.mark.parametrize(
    "value", [uuid4(), b"bytes", ["a"], {"a": 1}, ("a",), 1j, object()], ids=lambda v: type(v).__name__
)
def test_a_position_of_another_type_is_a_mistake_of_the_caller(value: Any) -> None:
    with pytest.raises(TypeError, match=f"JSON scalars, no {type(value).__name__}"):
        OURS.make("documents", HERE, value)


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), "\ud800", "x" * MOST_CHARACTERS, 10**5_000],
    ids=["nan", "inf", "surrogate", "long", "digits"],
)
def test_a_position_that_cannot_come_back_makes_no_cursor(value: Any) -> None:
    with pytest.raises(ValueError):
        OURS.make("documents", HERE, value)


def test_without_a_key_there_are_no_cursors_and_no_key_is_printed() -> None:
    with pytest.raises(ValueError, match="need a key"):
        Cursors(b"")
    assert "key" not in repr(OURS)


# What it did not make ---------------------------------------------------------------------------------------------


@given(st.uuids())
def test_a_cursor_of_another_workspace_is_refused_and_not_repeated(there: UUID) -> None:
    if there != HERE:
        error = assert_refused(OURS.make("documents", there, *PLACE))
        assert str(error).startswith("the cursor is of another workspace")
        assert str(there) not in str(error)
        assert PLACE[1] not in str(error)


def test_a_list_of_a_users_own_calls_its_home_so() -> None:
    with pytest.raises(InvalidInput, match="of another user"):
        OURS.read("sessions", HERE, OURS.make("sessions", uuid4(), *PLACE), home_name="user")


@given(text, text)
def test_a_cursor_of_another_list_is_refused(one: str, other: str) -> None:
    if one != other:
        assert_damaged(OURS.make(one, HERE, *PLACE), listing=other)


def test_the_end_of_a_lists_name_does_not_pass_for_the_beginning_of_a_place() -> None:
    raw = decoded(OURS.make("documents of", HERE, *PLACE))
    assert_damaged(encoded(raw[:17] + b" of" + raw[17:]))


@given(st.binary(min_size=1))
def test_a_cursor_under_another_key_is_refused_also_where_it_names_the_own_workspace(key: bytes) -> None:
    if key.rstrip(b"\0") != b"the key of this lane":  # HMAC fills a short key up with zeros
        assert_damaged(Cursors(key).make("documents", HERE, *PLACE))


def test_a_flipped_bit_anywhere_is_refused() -> None:
    raw = decoded(OURS.make("documents", HERE, *PLACE))
    for place in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[place] ^= 1 << bit
            assert_damaged(encoded(bytes(changed)))


@given(st.data())
def test_a_cursor_with_any_one_character_changed_is_refused(data: st.DataObject) -> None:
    cursor = OURS.make("documents", HERE, *PLACE)
    place = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from(sorted(set(URL_SAFE) - {cursor[place]})))
    assert_damaged(cursor[:place] + other + cursor[place + 1 :])


def test_a_cursor_cut_short_anywhere_or_drawn_out_is_refused() -> None:
    cursor = OURS.make("documents", HERE, *PLACE)
    raw = decoded(cursor)
    for length in range(len(cursor)):
        assert_damaged(cursor[:length])
    for length in range(1, len(raw)):
        assert_damaged(encoded(raw[:length]))
        assert_damaged(encoded(raw[length:]))
    assert_damaged(encoded(raw + b" "))
    assert_damaged(cursor + cursor)


def test_a_position_put_behind_the_tag_of_another_cursor_is_refused() -> None:
    one, other = (decoded(OURS.make("documents", HERE, name)) for name in ("one", "other"))
    assert_damaged(encoded(one[:17] + other[17:]))


def test_an_unsigned_cursor_of_version_1_is_refused() -> None:
    where = HERE.bytes + uuid4().bytes
    digest = hashlib.sha256(b"\x01|" + where + b"|documents").digest()[:8]
    assert_damaged(encoded(b"\x01" + digest + where))


@pytest.mark.parametrize("position", [b"", b"7", b"[", b"null", b'["a"]', b'{"a":1}'])
def test_what_anybody_can_compute_signs_nothing(position: bytes) -> None:
    where = HERE.bytes + position
    for guess in (bytes(16), hashlib.sha256(b"\x02" + where).digest()[:16], hashlib.sha256(where).digest()[:16]):
        assert_damaged(encoded(b"\x02" + guess + where))


@given(st.text())
def test_no_text_is_a_cursor(text: str) -> None:
    assert_damaged(text)


@pytest.mark.parametrize(
    "nonsense",
    ["", " ", "\x00", "é", "=", "A" * 100_000, str(UUID(int=7)), "../../etc/passwd", "\ud800", "٣" * 55],
    ids=lambda text: ascii(text)[:20],
)
def test_nonsense_is_refused_and_not_repeated(nonsense: str) -> None:
    assert_damaged(nonsense)


def test_other_ways_to_write_a_cursor_are_refused() -> None:
    """Its base64 has no padding, no blanks, no bits that mean nothing, and the letters of URLs."""
    for size in range(3):
        cursor = OURS.make("documents", HERE, "\u07ff" * 20 + "x" * size)
        assert OURS.read("documents", HERE, cursor) is not None
        raw = decoded(cursor)
        padded = base64.urlsafe_b64encode(raw).decode()
        others = {
            padded,
            cursor + "=",
            cursor + "==",
            cursor + "===",
            cursor + "\n",
            " " + cursor,
            cursor[:9] + " " + cursor[9:],
        }
        others.add(base64.b64encode(raw).decode().rstrip("="))
        if len(cursor) % 4:
            others.add(cursor[:-1] + URL_SAFE[(URL_SAFE.index(cursor[-1]) + 1) % 64])
        for other in others - {cursor}:
            assert_damaged(other)
