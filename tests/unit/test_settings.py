"""Settings say what is wrong by the variable's name."""

from __future__ import annotations

from datetime import timedelta

import pytest

from datalane.errors import ConfigurationError
from datalane.settings import Rate, Settings, load_settings
from datalane.settings.values import KIB


@pytest.mark.parametrize("value", ["90", "90.0", "PT90S", "PT1M30S"])
def test_a_time_is_seconds_or_an_iso_duration(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DATALANE_JOBS__LEASE", value)
    assert load_settings().jobs.lease == timedelta(seconds=90)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATALANE_JOBS__LEASE", "0"),
        ("DATALANE_JOBS__LEASE", "-5"),
        ("DATALANE_JOBS__LEASE", "soon"),
        ("DATALANE_LIMITS__UPLOAD", "0"),
        ("DATALANE_POOL_SIZE", "0"),
        ("DATALANE_TELEMETRY__METRICS_PORT", "9100"),
        ("DATALANE_TELEMETRY__TRACES", "yes"),
        ("DATALANE_LOG_LEVEL", "LOUD"),
        ("DATALANE_DATABASE_URL", "mysql://here"),
        ("DATALANE_ATTEMPTS__SIGN_IN", "often"),
        ("DATALANE_ATTEMPTS__SIGN_IN", "0/60"),
        ("DATALANE_ATTEMPTS__CLIENT", "10/0"),
        ("DATALANE_IDENTITY__SIGN_UP", "maybe"),
        ("DATALANE_OIDC__ISSUERS", "https://id.example.com"),
        ("DATALANE_OIDC__ISSUERS", "{}"),
        ("DATALANE_OIDC__ISSUERS", '[{"issuer": "i", "audience": "a", "jwks_url": "http://far.example/keys"}]'),
        (
            "DATALANE_OIDC__ISSUERS",
            '[{"issuer": "i", "audience": "a", "jwks_url": "https://i", "algorithms": ["none"]}]',
        ),
        ("DATALANE_OIDC__ISSUERS", '[{"issuer": "i", "audience": "a", "jwks_url": "https://i", "algorithms": []}]'),
        (
            "DATALANE_OIDC__ISSUERS",
            '[{"issuer": "i", "audience": "a", "jwks_url": "https://i", "algorithm": ["RS256"]}]',
        ),
        ("DATALANE_API__TRUSTED_PROXIES", "*"),
        ("DATALANE_AGENTS__MODERATOR", "house.rules"),
        ("DATALANE_ACCESS__ANALYTICS__OLDEST", "P3651D"),
        ("DATALANE_AGENTS__MODERATION_TIMEOUT", "61"),
        ("DATALANE_AGENTS__REDACTION__NAMES", "name,.*"),
        ("DATALANE_AGENTS__REDACTION__DETECT", "email,fax"),
    ],
)
def test_a_wrong_value_is_refused_by_its_variables_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable):
        load_settings()


@pytest.mark.parametrize(
    "said",
    [
        {"RETENTION__ANALYTICS": "P399D"},
        {"ACCESS__ANALYTICS__OLDEST": "P401D"},
        {"RETENTION__ANALYTICS": "P30D", "ACCESS__ANALYTICS__OLDEST": "P31D"},
    ],
)
def test_events_are_kept_as_long_as_they_are_taken(monkeypatch: pytest.MonkeyPatch, said: dict[str, str]) -> None:
    for name, value in said.items():
        monkeypatch.setenv(f"DATALANE_{name}", value)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "DATALANE_RETENTION__ANALYTICS: is" in str(refused.value)
    assert "or lower DATALANE_ACCESS__ANALYTICS__OLDEST" in str(refused.value)


@pytest.mark.parametrize(("kept", "oldest"), [("P30D", "P30D"), ("P500D", "P400D"), ("P11Y", "P3650D")])
def test_events_may_be_kept_longer_than_they_are_taken(monkeypatch: pytest.MonkeyPatch, kept: str, oldest: str) -> None:
    monkeypatch.setenv("DATALANE_RETENTION__ANALYTICS", kept)
    monkeypatch.setenv("DATALANE_ACCESS__ANALYTICS__OLDEST", oldest)
    assert load_settings().retention.analytics >= load_settings().access.analytics.oldest


def test_what_is_redacted_is_listed_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALANE_AGENTS__REDACTION__NAMES", "date_of_birth, Vorname")
    monkeypatch.setenv("DATALANE_AGENTS__REDACTION__DETECT", "email,iban")
    redaction = load_settings().agents.redaction
    assert (redaction.names, redaction.detect) == (("date_of_birth", "Vorname"), ("email", "iban"))


def test_secrets_are_masked_when_settings_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALANE_DATABASE_URL", "postgresql://datalane:hunter2@localhost/lane")
    assert "hunter2" not in repr(load_settings())


@pytest.mark.parametrize("value", ["20/90", "20/PT90S"])
def test_a_rate_is_a_burst_and_a_pause(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("DATALANE_ATTEMPTS__SIGN_IN", value)
    assert load_settings().attempts.sign_in == Rate(20, timedelta(seconds=90))


def test_the_limits_of_rules_and_webhooks_are_those_that_are_promised() -> None:
    settings = Settings()
    limits, webhooks = settings.limits, settings.webhooks
    assert (limits.condition, settings.automation.condition_time) == (4 * KIB, timedelta(milliseconds=50))
    assert (limits.event_payload, limits.event_payload_depth, limits.batch) == (256 * KIB, 32, 1_000)
    assert (limits.causation_depth, limits.dedupe_window) == (16, timedelta(days=30))
    assert (webhooks.timeout, webhooks.response_excerpt) == (timedelta(seconds=15), 2 * KIB)
    assert settings.inbound.tolerance == timedelta(minutes=5)
