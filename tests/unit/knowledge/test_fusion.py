"""Fusion: a convex combination of min-max normalised scores."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.knowledge.retrieval.fusion import KEYWORD_WEIGHT, fuse

A, B, C, D = (UUID(int=number) for number in range(1, 5))
scores = st.dictionaries(st.uuids(), st.floats(-100, 100), max_size=20)


def test_each_list_is_brought_to_the_range_from_0_to_1() -> None:
    fused = fuse({A: 10.0, B: 5.0, C: 0.0}, {A: 0.2, B: 0.4, C: 0.3}, keyword_weight=0.5)
    assert fused == pytest.approx({A: 0.5, B: 0.75, C: 0.25})
    assert list(fused) == [B, A, C]


def test_what_one_method_did_not_find_gets_its_floor() -> None:
    assert fuse({A: 3.0, B: 1.0}, {C: 0.9, D: 0.1}, keyword_weight=0.6) == pytest.approx({A: 0.6, C: 0.4, B: 0, D: 0})


def test_equal_scores_are_all_the_best() -> None:
    assert fuse({A: 2.0, B: 2.0}, {}, keyword_weight=0.7) == pytest.approx({A: 0.7, B: 0.7})


def test_ties_come_in_the_order_of_ids() -> None:
    assert list(fuse({C: 1.0, A: 1.0, B: 1.0}, {})) == [A, B, C]


def test_nothing_found_gives_nothing() -> None:
    assert fuse({}, {}) == {}


def test_one_method_alone_keeps_its_order() -> None:
    assert list(fuse({}, {A: 0.1, B: 0.5, C: 0.3})) == [B, C, A]


@given(scores, scores)
def test_fused_scores_are_fractions_in_descending_order(
    keyword: dict[UUID, float], semantic: dict[UUID, float]
) -> None:
    fused = fuse(keyword, semantic)
    assert fused.keys() == keyword.keys() | semantic.keys()
    assert all(0 <= score <= 1 + 1e-9 for score in fused.values())
    assert list(fused.values()) == sorted(fused.values(), reverse=True)


def test_the_keyword_side_weighs_more_by_default() -> None:
    assert 0.5 < KEYWORD_WEIGHT < 1
