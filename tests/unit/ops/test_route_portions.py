"""Which routes a process of the isolation proof takes."""

from __future__ import annotations

import pytest

from datalane.ops.isolation.route_table import Access, Route
from datalane.ops.isolation.routes import Portion

ROUTES = [
    Route("GET", f"/{path}", Access.ACCOUNT, None, None, False, {})
    for path in ("items", "items/list", "notes", "projects", "views")
]


@pytest.mark.parametrize("hands", [1, 2, 3, 7])
def test_hands_that_share_the_work_take_each_route_once(hands: int) -> None:
    shares = [Portion(hand=hand, hands=hands).routes(ROUTES) for hand in range(hands)]
    taken = sorted(route.path for share in shares for route in share)
    assert taken == [route.path for route in ROUTES]
    sizes = sorted(len(share) for share in shares)
    assert sizes[-1] - sizes[0] <= 1


def test_hands_share_the_routes_that_were_picked() -> None:
    of_items = [Portion(lambda route: "items" in route.path, hand=hand, hands=2).routes(ROUTES) for hand in range(2)]
    assert [[route.path for route in share] for share in of_items] == [["/items"], ["/items/list"]]
