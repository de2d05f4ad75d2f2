"""The shapes of bearer tokens."""

from __future__ import annotations

from uuid import uuid4

from datalane.identity.tokens import (
    ApiKeyToken,
    InviteToken,
    digest,
    is_session_token,
    new_secret,
    parse_api_key,
    parse_invite,
)


def test_an_api_key_says_where_it_belongs() -> None:
    token = ApiKeyToken(uuid4(), uuid4(), new_secret())
    assert parse_api_key(str(token)) == token
    assert str(token).startswith(f"dl_{token.workspace_id.hex}_{token.key_id.hex}_")


def test_an_api_key_does_not_print_its_secret_by_accident() -> None:
    token = ApiKeyToken(uuid4(), uuid4(), new_secret())
    assert token.secret not in repr(token)


def test_session_tokens_and_api_keys_cannot_be_taken_for_each_other() -> None:
    session, key = new_secret(), str(ApiKeyToken(uuid4(), uuid4(), new_secret()))
    assert is_session_token(session)
    assert parse_api_key(session) is None
    assert not is_session_token(key)


def test_an_invite_says_where_it_leads_and_is_taken_for_nothing_else() -> None:
    invite, key = InviteToken(uuid4(), uuid4(), new_secret()), ApiKeyToken(uuid4(), uuid4(), new_secret())
    assert parse_invite(str(invite)) == invite
    assert invite.secret not in repr(invite)
    assert parse_api_key(str(invite)) is None
    assert parse_invite(str(key)) is None
    assert not is_session_token(str(invite))


def test_tokens_with_something_added_are_not_tokens() -> None:
    for added in (new_secret() + "\n", " " + new_secret(), new_secret() + "ü"):
        assert not is_session_token(added)
    assert parse_api_key(str(ApiKeyToken(uuid4(), uuid4(), new_secret())) + "\n") is None


def test_a_digest_is_sha256() -> None:
    assert len(digest(new_secret())) == 32
    assert digest("a") != digest("b")
