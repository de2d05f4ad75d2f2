"""How a verb may begin: with the check of the rank, or with the same check in short."""

from __future__ import annotations

import pytest

from datalane.ops.isolation.lint import GUARD

SHORT = (
    "BEGIN IF workspace IS NULL OR app.actor_rank() < {below} THEN PERFORM datalane.require_rank({rank}); {end} "
    "RETURN; END"
)


@pytest.mark.parametrize(
    ("code", "rank"),
    [
        ("BEGIN PERFORM datalane.require_rank(3); RETURN; END", "3"),
        (SHORT.format(below=2, rank=2, end="END IF;"), "2"),
        (SHORT.format(below=1, rank=2, end="END IF;"), None),
        (SHORT.format(below=2, rank=2, end="ELSE"), None),
        ("BEGIN IF app.actor_rank() < 2 THEN PERFORM datalane.require_rank(2); END IF; END", None),
    ],
)
def test_a_check_in_short_asks_for_one_rank_and_guards_all_that_follows(code: str, rank: str | None) -> None:
    found = GUARD.search(code)
    assert (found and found["rank"]) == rank
