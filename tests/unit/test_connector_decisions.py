"""What reports mean, where calls go, and which headers they have, decided from values alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from itertools import permutations

import pytest
from pydantic import SecretStr

from datalane.errors import IllegalTransition, InvalidInput
from datalane.integrations.connectors.addresses import check_base_url, join_url, plain_path
from datalane.integrations.connectors.credentials import check_auth, render_auth
from datalane.integrations.connectors.health import Seen, Standing, check_moment, decide
from datalane.integrations.connectors.schemas import ConnectorAuth
from datalane.integrations.connectors.states import CONNECTOR
from datalane.kit.outbound import FetchRefused, Outbound

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
BASE = "https://api.example.com/v1"


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def seen(outcome: str, minutes: float, outcome_of: str = "check") -> Seen:
    return Seen(outcome, outcome_of, at(minutes))


@pytest.mark.parametrize("status", ["connected", "degraded"])
@pytest.mark.parametrize("outcome", ["expired", "refresh_failed", "unreachable", "rejected"])
@pytest.mark.parametrize("outcome_of", ["check", "refresh", "sync", "call"])
def test_no_failure_revokes_by_itself(status: str, outcome: str, outcome_of: str) -> None:
    for refreshable in (True, False, None):
        decision = decide(Standing(status, None), Seen(outcome, outcome_of, at(0), refreshable))
        assert (decision.counted, decision.status) == (True, "degraded")


def test_the_provider_s_own_word_revokes_and_ok_connects() -> None:
    assert decide(Standing("connected", None), seen("revoked_by_provider", 0)).status == "revoked"
    assert decide(Standing("degraded", None), seen("ok", 0)).status == "connected"


def test_reports_lead_to_the_same_state_in_every_order() -> None:
    reports = [seen("ok", 1), seen("expired", 2), seen("ok", 3), seen("refresh_failed", 4)]
    for order in permutations(reports):
        known = Standing("connected", None)
        for report in order:
            decision = decide(known, report)
            if decision.counted:
                known = Standing(decision.status, None, report.observed_at, report.outcome, report.outcome_of)
        assert (known.status, known.outcome) == ("degraded", "refresh_failed")


def test_a_report_of_credentials_that_were_rotated_away_does_not_count() -> None:
    known = Standing("connected", rotated_at=at(5))
    assert not decide(known, seen("rejected", 4)).counted
    assert decide(known, seen("rejected", 6)).counted


def test_a_repeated_failure_of_a_sync_is_no_news() -> None:
    known = Standing("degraded", None, at(0), "unreachable", "sync")
    assert not decide(known, seen("unreachable", 1, "sync")).is_news
    assert decide(known, seen("expired", 1, "sync")).is_news
    assert not decide(known, seen("expired", 1, "check")).is_news
    assert decide(Standing("degraded", None, at(0), "unreachable", "check"), seen("unreachable", 1, "sync")).is_news


def test_a_clock_that_is_far_ahead_is_refused() -> None:
    check_moment(at(5), NOON)
    with pytest.raises(InvalidInput):
        check_moment(at(5.1), NOON)


def test_nothing_leads_out_of_revoked() -> None:
    assert CONNECTOR.terminal == {"revoked"}
    for target in CONNECTOR.states:
        with pytest.raises(IllegalTransition):
            CONNECTOR.check("revoked", target)


@pytest.mark.parametrize(
    ("base", "path", "url"),
    [
        (BASE, "/charges", f"{BASE}/charges"),
        (f"{BASE}/", "/charges?limit=1&to=https://x/../y", f"{BASE}/charges?limit=1&to=https://x/../y"),
        ("https://api.example.com", "/a%20b/c", "https://api.example.com/a%20b/c"),
        (BASE, "/a/..b/c...d", f"{BASE}/a/..b/c...d"),
    ],
)
def test_a_path_goes_behind_the_base_url(base: str, path: str, url: str) -> None:
    assert join_url(base, path) == url


@pytest.mark.parametrize(
    "path",
    [
        *("", "charges", "//evil.example/x", "https://evil.example/", "@evil.example/", ":8443/x", "/../admin"),
        *("/a/../../admin", "/..", "/.", "/%2e%2e/admin", "/%2E./admin", "/.%2e", "/%252e%252e/x", "/a/%2e%2e%2fadmin"),
        *("/a\\..\\b", "/%5c..%5cadmin", "/a#b", "/a b", "/a\nHost: x", "/a\x00", "/ü", "/\\evil.example"),
        *("/%25252e%25252e/x", "/a/..;/b", "/..;x=1/admin", "/%2e%2e%3b/admin"),
    ],
)
def test_no_path_leads_out_of_the_base_url(path: str) -> None:
    with pytest.raises((InvalidInput, ValueError)):
        join_url(BASE, path)
    with pytest.raises(ValueError, match=r"must"):
        plain_path(path)


@pytest.mark.parametrize(
    "url",
    [
        *("http://api.example.com", "ftp://api.example.com", "https://user:pw@api.example.com", "https://127.0.0.1"),
        *("https://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:10.0.0.1]", "https://a.example/?x=1"),
        *("https://a.example/#x", "https://a.example/a/../b/%2e%2e", "api.example.com", "https://a.example//x"),
    ],
)
def test_credentials_are_not_sent_there(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_base_url(Outbound(), url)


def test_credentials_are_sent_by_https_and_to_what_the_operator_opened() -> None:
    check_base_url(Outbound(), BASE)
    check_base_url(Outbound((ip_network("10.0.0.0/8"),)), "http://10.1.2.3:8080/api")
    with pytest.raises(FetchRefused):
        check_base_url(Outbound((ip_network("10.0.0.0/8"),)), "http://10.example.com/api")


def test_headers_are_made_of_credentials_and_of_nothing_else() -> None:
    auth = [
        ConnectorAuth(header="Authorization", template="Bearer {token}"),
        ConnectorAuth(header="X-App", template="{app}:{token}"),
    ]
    made = render_auth(auth, {"token": "{app}", "app": "one"})
    assert made == {"authorization": "Bearer {app}", "x-app": "one:{app}"}
    odd = [ConnectorAuth(header="X-Odd", template="{token.__class__} {0} {} {TOKEN} {token}")]
    assert render_auth(odd, {"token": "t"}) == {"x-odd": "{token.__class__} {0} {} {TOKEN} t"}


@pytest.mark.parametrize(
    ("header", "template", "secret"),
    [
        ("Authorization", "Bearer {missing}", "s3cret-value"),
        ("Host", "{token}", "s3cret-value"),
        ("Content-Length", "{token}", "s3cret-value"),
        ("X Y", "{token}", "s3cret-value"),
        ("Authorization", "Bearer {token}", "s3cret-value\r\nX-Evil: 1"),
        ("Authorization", "Bearer {token}", "s3cret-välue"),
    ],
)
def test_what_makes_no_header_is_refused_without_a_word_of_the_secret(header: str, template: str, secret: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_auth([ConnectorAuth(header=header, template=template)], {"token": SecretStr(secret)})
    assert "s3cret" not in f"{refused.value} {refused.value.errors}"
    assert refused.value.__cause__ is None
