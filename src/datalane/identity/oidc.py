"""ID tokens of configured issuers (OpenID Connect Core 1.0, section 3.1.3.7) exchanged for sessions.

Nothing in a token is believed before its signature is checked, but its issuer, which picks the configuration that
names the keys, the audience and the algorithms. Those are public-key algorithms only, so neither `none` nor a public
key used as the secret of an HMAC passes. Keys that a token brings along are not looked at.

Who it is, is issuer and subject. The first time, the e-mail address decides: verified, it links the account of that
address or makes one; unverified, it does neither.
"""

from __future__ import annotations

import binascii
import hmac
import re
from base64 import urlsafe_b64decode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from pydantic import TypeAdapter, ValidationError

from datalane.db.database import Database
from datalane.errors import Conflict, Forbidden, InvalidInput, Unauthenticated
from datalane.identity.invites import join, read_invite
from datalane.identity.jwks import KeySource
from datalane.identity.queries import queries
from datalane.identity.schemas import Email, FederatedSession, IdTokenExchange
from datalane.identity.sessions import start_session
from datalane.identity.signing_up import require_sign_up
from datalane.kit.clock import utc_now
from datalane.kit.strict_json import parse_json
from datalane.settings import Issuer, OidcSettings, SessionSettings, SignUp

LEEWAY = timedelta(seconds=60)
"""How far the clocks of an issuer and of the lane may be apart."""

_SEGMENTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_SUBJECT_CHARACTERS = 255
_EMAIL: TypeAdapter[str] = TypeAdapter(Email)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who an ID token speaks of. `email` is None unless the token has one that is an address.

    `sign_up` is what the issuer's configuration says of making accounts, if anything.
    """

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    name: str | None
    sign_up: SignUp | None = None


class IdTokens:
    """Verifies ID tokens of the configured issuers. One for each process: it keeps the issuers' keys."""

    def __init__(self, oidc: OidcSettings) -> None:
        self._issuers: Sequence[Issuer] = oidc.issuers
        self._sources = {issuer.jwks_url: KeySource(issuer.jwks_url) for issuer in self._issuers}

    async def verify(self, id_token: str, *, nonce: str | None = None, now: datetime | None = None) -> Subject:
        """Who the token speaks of. Raises `Unauthenticated` saying what is wrong, and `IssuerUnavailable`."""
        at = now or utc_now()
        header, claims = _parts(id_token)
        issuer = self._configured(claims)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms or "crit" in header or not isinstance(key_id, str | None):
            raise Unauthenticated("the ID token is signed in a way that is not allowed for its issuer")
        key = await self._sources[issuer.jwks_url].find(key_id, at)
        try:
            jws.deserialize_compact(id_token, key, registry=_Registry(issuer.algorithms))
        except (JoseError, ValueError):
            raise Unauthenticated("the signature of the ID token is wrong") from None
        _check_times(claims, at)
        _check_nonce(claims, nonce)
        return replace(_subject(claims), sign_up=issuer.sign_up)

    def _configured(self, claims: Mapping[str, Any]) -> Issuer:
        known = [issuer for issuer in self._issuers if issuer.issuer == claims.get("iss")]
        if not known:
            raise Unauthenticated("the issuer of the ID token is not configured here")
        audience = claims.get("aud")
        named = [audience] if isinstance(audience, str) else audience if isinstance(audience, list) else []
        for issuer in known:
            party = claims.get("azp", issuer.audience if len(named) == 1 else None)
            if issuer.audience in named and party == issuer.audience:
                return issuer
        raise Unauthenticated("the ID token is meant for somebody else")


class _Registry(jws.JWSRegistry):
    """Exactly the configured algorithms; an empty list allows none, and unknown header parameters are ignored."""

    def __init__(self, algorithms: Collection[str]) -> None:
        super().__init__(algorithms=list(algorithms), strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError(name)
        return self.algorithms[name]


async def exchange_id_token(
    database: Database,
    tokens: IdTokens,
    given: IdTokenExchange,
    *,
    sessions: SessionSettings,
    correlation_id: str,
    sign_up: SignUp,
    now: datetime | None = None,
) -> FederatedSession:
    """A session for the holder of an ID token, whose account is linked or made on the way.

    `outcome` is `created_new` when this call made the account, else `linked_existing`. The first link to an account
    whose address nobody had vouched for ends its sessions and its password, for whoever made it may be somebody else.

    An account is made only where the issuer's own setting, or else `sign_up`, lets it. An invite is accepted on the
    way, also for an account that exists; the session acts in its workspace then.

    Raises `Unauthenticated` for a bad token, `Forbidden` for a stranger without a verified address or where signing up
    is closed or takes an invite, `Conflict` when another subject of the same issuer has the account of that address,
    and what `accept_invite` raises. Whatever it raises, nothing was made or linked.
    """
    who = await tokens.verify(given.id_token, nonce=given.nonce, now=now)
    invite = None if given.invite is None else read_invite(given.invite)
    name = (who.name or (who.email or "").partition("@")[0])[:200]
    async with database.sign_in_door() as tx:
        at = now or (await queries.this_moment(tx.connection) if invite else None)
        entered = await queries.enter_by_identity(
            tx.connection,
            issuer=who.issuer,
            subject=who.subject,
            email=who.email if who.email_verified else None,
            name=name,
            workspace_name=f"{name}'s workspace"[:200],
            correlation_id=correlation_id,
            now=at,
        )
        _require_entry(entered["outcome"], who.sign_up or sign_up, invited=invite is not None)
        joins = None if invite is None else invite.workspace_id
        session = await start_session(tx, entered["user_id"], joins, sessions, at)
        if invite is not None:
            await join(tx, session.token, invite, correlation_id=correlation_id, now=at)
    return FederatedSession(**dict(session), outcome=entered["outcome"])


def _require_entry(outcome: str, sign_up: SignUp, *, invited: bool) -> None:
    if outcome == "unverified":
        raise Forbidden(
            "the issuer does not vouch for the e-mail address, so no account can be linked or made",
            denial="email_unverified",
        )
    if outcome == "taken":
        raise Conflict("the account of this address belongs to another identity of the same issuer")
    if outcome == "created_new":
        require_sign_up(sign_up, invited=invited)


def _parts(id_token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Header and claims, not yet to be believed."""
    segments = _SEGMENTS.fullmatch(id_token)
    if segments is None:
        raise Unauthenticated("the ID token is not a signed JWT")
    try:
        header, claims = (
            parse_json(urlsafe_b64decode(segment + "=" * (-len(segment) % 4)), name="the ID token")
            for segment in segments.groups()[:2]
        )
    except (InvalidInput, binascii.Error, ValueError):
        raise Unauthenticated("the ID token is not a signed JWT") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated("the ID token is not a signed JWT")
    return header, claims


def _check_times(claims: Mapping[str, Any], now: datetime) -> None:
    at, leeway = now.timestamp(), LEEWAY.total_seconds()
    expires, issued, begins = _moment(claims, "exp"), _moment(claims, "iat"), claims.get("nbf")
    if expires is None or issued is None or (begins is not None and _moment(claims, "nbf") is None):
        raise Unauthenticated("the ID token must say when it was issued and when it expires")
    if expires + leeway <= at:
        raise Unauthenticated("the ID token has expired")
    if max(issued, begins or issued) - leeway > at:
        raise Unauthenticated("the ID token is from the future; compare the clocks")


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _check_nonce(claims: Mapping[str, Any], nonce: str | None) -> None:
    if nonce is None:
        return
    claimed = claims.get("nonce")
    if not isinstance(claimed, str) or not hmac.compare_digest(claimed.encode(), nonce.encode()):
        raise Unauthenticated("the nonce of the ID token is another")


def _subject(claims: Mapping[str, Any]) -> Subject:
    subject, name = claims.get("sub"), claims.get("name")
    if not isinstance(subject, str) or not 1 <= len(subject) <= _SUBJECT_CHARACTERS or "\0" in subject:
        raise Unauthenticated("the ID token names no subject")
    try:
        email = _EMAIL.validate_python(claims.get("email"))
    except ValidationError:
        email = None
    usable = isinstance(name, str) and name.strip() and "\0" not in name
    said = claims.get("email_verified")  # some issuers write it as a string
    verified = (said is True or said == "true") and email is not None
    return Subject(str(claims["iss"]), subject, email, verified, name.strip() if usable and name else None)
