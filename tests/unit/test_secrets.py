"""What counts as a weak secret, and that a secret made by chance never does."""

from __future__ import annotations

import secrets
import shlex
import subprocess
import sys

import pytest

from datalane.db.access import Access
from datalane.kit.secrets import HOW_TO_MAKE, MINIMUM_CHARACTERS, weakness


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "postgres",
        "kT9!xw2#Lm8$Qz4"[: MINIMUM_CHARACTERS - 1],
        "a" * 40,
        "hunter2hunter2hunter2",
        "1234567890123456",
        "abcdefghijklmnopqrstuvwxyz",
        "121212121212121234",
        "Password12345678",
        "P@ssw0rdP@ssw0rd1",
        "changeme-changeme",
        "CHANGE_ME_CHANGE_IT!",
        "postgres-production-2024",
        "prod-datalane-database",
        "qwertyuiopasdfghjkl",
        "my secret password",
    ],
)
def test_what_is_short_well_known_or_monotonous_is_weak(secret: str) -> None:
    assert weakness(secret) is not None


@pytest.mark.parametrize("secret", ["warehouse_keeper", "Warehouse_Keeper_42", "w4reh0use_keeper1"])
def test_the_users_name_is_weak_whatever_its_disguise(secret: str) -> None:
    assert weakness(secret) is None
    assert "the name of its user" in str(weakness(secret, "warehouse_keeper"))


def test_a_short_name_in_a_good_secret_does_not_make_it_weak() -> None:
    assert weakness("d7d2dqd9dwd5dxd1d8dk", "d") is None


@pytest.mark.parametrize(
    "secret", ["kT9!xw2#Lm8$Qz4^", "f3a91c07be5d2486", "plinth-osprey-cadmium-ferry", "žluťoučký kůň úpěl"]
)
def test_what_is_long_and_varied_is_strong(secret: str) -> None:
    assert weakness(secret) is None


def test_secrets_made_by_chance_are_strong() -> None:
    for _ in range(2_000):
        generated = Access.generate()
        for secret in (generated.login, generated.maintenance, secrets.token_hex(16), secrets.token_urlsafe(16)):
            assert weakness(secret, "datalane", "datalane_maintenance") is None


def test_the_command_that_is_recommended_prints_a_strong_one() -> None:
    _, *arguments = shlex.split(HOW_TO_MAKE)
    printed = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True).stdout.strip()
    assert weakness(printed) is None


@pytest.mark.parametrize("secret", ["hunter2", "hunter2hunter2hunter2", "Password12345678", "1234567890123456"])
def test_the_reason_does_not_tell_the_secret(secret: str) -> None:
    assert secret not in str(weakness(secret, secret))
