"""A variable that nothing reads is found, and each secret among the settings has a rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel, SecretStr

import datalane
from datalane.credentials import SECRETS, check_login, check_token, find_weak
from datalane.environment import OF_COMMANDS, OF_THE_SUPERVISOR, find_unknown, variables_of
from datalane.errors import ConfigurationError
from datalane.settings import Settings, load_settings

STRONG = "Vq8LmZ4kXw1TbR9c"
WEAK = "hunter2"
FAR = "db.example.com"


def unknown(**environment: str) -> dict[str, str]:
    return {fault.variable: fault.mend for fault in find_unknown(environment, Settings)}


def weak(**environment: str) -> dict[str, str]:
    """Each fault of these secrets; nothing else of the machine's environment counts."""
    return {fault.variable: str(fault) for fault in find_weak({"HOME": "/nonexistent", **environment})}


def login(place: str = FAR, password: str | None = None, options: str = "") -> str:
    return f"postgresql://datalane{'' if password is None else f':{password}'}@{place}/lane{options}"


# Names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("DATALANE_DATABSE_URL", "DATALANE_DATABASE_URL"),
        ("DATALANE_LIMIT__UPLOAD", "DATALANE_LIMITS__UPLOAD"),
        ("DATALANE_LIMITS_UPLOAD", "DATALANE_LIMITS__UPLOAD"),
        ("DATALANE_LIMITS__UPLOADS", "DATALANE_LIMITS__UPLOAD"),
        ("DATALANE_PORT", "DATALANE_API__PORT"),
        ("DATALANE_API_PORT", "DATALANE_API__PORT"),
        ("DATALANE_LEASE", "DATALANE_JOBS__LEASE"),
        ("datalane_loglevel", "DATALANE_LOG_LEVEL"),
        ("DATALANE_ADMIN_UR", "DATALANE_ADMIN_URL"),
    ],
)
def test_a_mistyped_variable_is_found_and_the_right_one_named(typed: str, meant: str) -> None:
    assert unknown(**{typed: "x"}) == {typed: f"did you mean {meant}?"}


def test_a_variable_like_no_other_is_found_too() -> None:
    assert "remove it" in unknown(DATALANE_FROBNICATE="x")["DATALANE_FROBNICATE"]


def test_a_group_is_set_one_by_one() -> None:
    assert "DATALANE_JOBS__LEASE" in unknown(DATALANE_JOBS='{"lease": 5}')["DATALANE_JOBS"]


def test_every_setting_and_what_the_supervisor_hands_down_is_known() -> None:
    known = [*variables_of(Settings), *OF_COMMANDS, *OF_THE_SUPERVISOR, "datalane_pool_size", "HOME", "MY_DATALANE_X"]
    assert unknown(**dict.fromkeys(known, "1")) == {}


def test_every_variable_that_the_code_names_is_known() -> None:
    """A new one that is no setting is to be entered in `datalane.environment`, or nothing starts where it is set."""
    (folder,) = datalane.__path__
    named = {
        name for path in Path(folder).rglob("*.py") for name in re.findall(r'"(DATALANE_[A-Z_]+)"', path.read_text())
    }
    assert named >= OF_COMMANDS | OF_THE_SUPERVISOR
    assert unknown(**dict.fromkeys(named, "1")) == {}


def test_what_a_container_platform_sets_for_a_service_of_our_name_is_no_mistake() -> None:
    made = {
        "DATALANE_SERVICE_HOST": "10.0.0.7",
        "DATALANE_SERVICE_PORT": "8080",
        "DATALANE_SERVICE_PORT_HTTP": "8080",
        "DATALANE_PORT": "tcp://10.0.0.7:8080",
        "DATALANE_PORT_8080_TCP": "tcp://10.0.0.7:8080",
        "DATALANE_PORT_8080_TCP_ADDR": "10.0.0.7",
        "DATALANE_API_SERVICE_HOST": "10.0.0.8",
        "DATALANE_API_PORT": "tcp://10.0.0.8:8080",
    }
    assert unknown(**made) == {}
    assert list(unknown(DATALANE_API_PORT="8081")) == ["DATALANE_API_PORT"]


def test_everything_that_is_wrong_is_said_at_once_and_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALANE_POOL_SIZE", "many-and-more")
    monkeypatch.setenv("DATALANE_LIMITS__UPLOAD", "-17")
    monkeypatch.setenv("DATALANE_DATABSE_URL", login(password=WEAK))
    monkeypatch.setenv("DATALANE_OPERATOR_URL", login(password=WEAK))
    with pytest.raises(ConfigurationError) as refused:
        load_settings(serving=True)
    said = str(refused.value)
    for variable in ("POOL_SIZE", "LIMITS__UPLOAD", "DATABSE_URL", "OPERATOR_URL"):
        assert f"DATALANE_{variable}: " in said
    assert not any(value in said for value in (WEAK, "many-and-more", "-17"))
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    assert "OPERATOR_URL" not in str(refused.value), "a command that serves nobody says nothing about secrets"


# Secrets ----------------------------------------------------------------------------------------------------------


def secrets_of(model: type[BaseModel], path: str = "DATALANE_") -> Iterator[str]:
    for name, field in model.model_fields.items():
        variable, kind = f"{path}{name.upper()}", field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from secrets_of(kind, f"{variable}__")
        elif SecretStr in (kind, *get_args(kind)):
            yield variable


def test_every_secret_among_the_settings_has_a_rule() -> None:
    """A new one needs a line in `datalane.credentials.SECRETS` that says when it is too weak to start with."""
    assert set(SECRETS) == set(secrets_of(Settings))


LOGINS = [variable for variable, rule in SECRETS.items() if rule is check_login]


TOKENS = [variable for variable, rule in SECRETS.items() if rule is check_token]


@pytest.mark.parametrize("variable", TOKENS)
@pytest.mark.parametrize("token", ["", WEAK, "t" * 40, "metrics-token-secret"])
def test_a_weak_token_is_named_and_a_strong_one_is_not(variable: str, token: str) -> None:
    (said,) = weak(**{variable: token}).items()
    assert said[0] == variable
    assert "token_urlsafe" in said[1]
    assert not token or token not in said[1]
    assert weak(**{variable: STRONG}) == {}


@pytest.mark.parametrize("variable", LOGINS)
@pytest.mark.parametrize("place", [FAR, "localhost", "127.0.0.1:5433", ""])
@pytest.mark.parametrize("password", [WEAK, "postgres", "datalane", "password12345678", ""])
def test_a_weak_password_is_named_wherever_the_server_is(variable: str, place: str, password: str) -> None:
    found = weak(**{variable: login(place, password)})
    if password == "" and place != FAR:
        assert found == {}, "no password at all, where none is needed"
        return
    assert list(found) == [variable]
    assert "token_urlsafe" in found[variable]
    assert "ALTER ROLE datalane PASSWORD" in found[variable]
    assert WEAK not in found[variable]


@pytest.mark.parametrize("options", [f"?password={WEAK}", f"?host={FAR}&password={WEAK}"])
def test_a_weak_password_is_found_among_the_options_too(options: str) -> None:
    assert list(weak(DATALANE_DATABASE_URL=login(options=options))) == ["DATALANE_DATABASE_URL"]


@pytest.mark.parametrize("place", [FAR, f"{FAR}:5433", "192.0.2.7", "[2001:db8::1]:5432", f"127.0.0.1,{FAR}:5433"])
def test_a_server_elsewhere_takes_a_password(place: str) -> None:
    (said,) = weak(DATALANE_MAINTENANCE_URL=login(place)).values()
    assert "there is no password" in said
    assert weak(DATALANE_MAINTENANCE_URL=login(place, STRONG)) == {}


@pytest.mark.parametrize(
    "url",
    [
        login("localhost"),
        login("127.0.0.2:5433"),
        login("[::1]:5432"),
        login(""),
        login("", options="?host=/run/postgresql&port=5433"),
        login("", options="?host=::1"),
        login("%2Frun%2Fpostgresql"),
    ],
)
def test_a_socket_or_this_machine_takes_none(url: str) -> None:
    assert weak(DATALANE_DATABASE_URL=url) == {}


def test_a_socket_named_by_the_environment_is_near_and_a_host_is_not() -> None:
    assert weak(DATALANE_DATABASE_URL=login(""), PGHOST="/run/postgresql") == {}
    assert list(weak(DATALANE_DATABASE_URL=login(""), PGHOST=FAR)) == ["DATALANE_DATABASE_URL"]


@pytest.mark.parametrize(
    ("options", "environment"),
    [
        ("?sslcert=/keys/lane.crt", {}),
        ("?passfile=/keys/pgpass", {}),
        ("?krbsrvname=postgres", {}),
        ("", {"PGPASSWORD": STRONG}),
        ("", {"PGPASSFILE": "/keys/pgpass"}),
        ("", {"PGSSLCERT": "/keys/lane.crt"}),
        ("", {"PGSERVICE": "lane"}),
    ],
)
def test_another_way_in_needs_no_password_in_the_url(options: str, environment: dict[str, str]) -> None:
    assert weak(DATALANE_DATABASE_URL=login(options=options), **environment) == {}


def test_a_password_file_at_home_is_another_way_in(tmp_path: Path) -> None:
    (tmp_path / ".pgpass").write_text("*:*:*:*:x")
    assert weak(DATALANE_DATABASE_URL=login(), HOME=str(tmp_path)) == {}


def test_a_weak_password_in_the_environment_is_named_once() -> None:
    urls = {"DATALANE_DATABASE_URL": login(), "DATALANE_OPERATOR_URL": login("localhost")}
    assert list(weak(**urls, PGPASSWORD=WEAK)) == ["PGPASSWORD"]
    strong = dict.fromkeys(urls, login(password=STRONG))
    assert weak(**strong, PGPASSWORD=WEAK) == {}, "nobody uses it"


@pytest.mark.parametrize("url", ["", "mysql://x", login("far:port"), "postgresql://[::1", "postgresql://"])
def test_a_url_that_cannot_be_read_is_left_to_whoever_connects(url: str) -> None:
    assert weak(DATALANE_DATABASE_URL=url) == {}


def test_a_role_that_is_no_plain_name_is_not_repeated() -> None:
    (said,) = weak(DATALANE_DATABASE_URL=f"postgresql://x'; DROP:{WEAK}@{FAR}/lane").values()
    assert "ALTER ROLE <its user> PASSWORD" in said
    assert "DROP" not in said
