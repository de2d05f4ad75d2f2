"""The life of a membership and of an invite is the same in the lane's data and in the database."""

from __future__ import annotations

from itertools import product

import psycopg
import pytest

from datalane.db.provision import Prepared
from datalane.errors import IllegalTransition
from datalane.identity.states import INVITE, MEMBERSHIP


def test_the_database_knows_the_steps_of_a_membership(template: Prepared) -> None:
    with psycopg.connect(template.maintenance_url) as connection:
        connection.execute("SET ROLE datalane_definer")
        known = {
            (source, target): connection.execute(
                "SELECT datalane.membership_may_go(%s, %s)", [source, target]
            ).fetchone()
            for source, target in product(MEMBERSHIP.states, repeat=2)
        }
        check = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = 'datalane.memberships'::regclass AND conname = 'status_is_known'"
        ).fetchone()
    assert known == {(source, target): (target in MEMBERSHIP.transitions[source],) for source, target in known}
    assert check is not None
    assert [state for state in MEMBERSHIP.states if f"'{state}'" not in check[0]] == []


def test_nobody_becomes_active_again_without_an_answer_of_their_own() -> None:
    with pytest.raises(IllegalTransition, match="allowed: invited"):
        MEMBERSHIP.check("removed", "active")


def test_an_invite_is_used_once() -> None:
    assert INVITE.terminal == {"accepted", "revoked"}
    assert INVITE.sources("accepted") == ["open"]
