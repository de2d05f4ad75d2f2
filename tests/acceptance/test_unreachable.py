"""Every command, on every way in which a database cannot be used: one clear line, never a traceback.

The commands and their parameters are read from the command line itself, so that a new one is tried without being
named here.
"""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import psycopg
import pytest
from typer.main import get_command

from datalane.cli.main import app
from datalane.db.access import Prepared
from datalane.db.embedded import EmbeddedPostgres
from datalane.kit.ids import uuid7

Command = Callable[..., Any]
Spoil = Callable[[str, str], str]

SECRET = "hunter2-Vq8LmZ4kXw1TbR9c"
ID = "0198c5b4-7d1e-7c32-9f5a-0d6b7c1f2a90"

FAULTS = ("wrong password", "refused port", "unknown host", "unknown database", "closing", "http", "unreadable", "bare")

DATASET = Path(__file__).with_name("judged")
CASES = DATASET / "cases.jsonl"
"""One query with a judgement; its documents are in the workspace that is named."""

ASK_NO_DATABASE = {
    "version": "prints what is installed",
    "authz matrix": "prints the matrix of the code",
    "contracts export": "writes the code's contracts",
    "contracts check": "compares files; its look at stored events has tests of its own",
    "contracts diff": "compares files",
    "contracts approve": "writes a file",
    "guard freeze": "writes a file",
    "isolation prove": "brings a scratch database",
}
"""Commands that the settings of the database do not concern, and why."""

WORKS = {("init", "bare"), ("migrate status", "bare")}
"""An unprepared database is what `init` prepares, and `migrate status` answers what its revision is."""


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield " ".join(path), command
        return
    for name, each in inner.items():
        yield from leaves(each, (*path, name))


COMMANDS = dict(leaves(get_command(app)))


def arguments(command: Any) -> list[str]:
    """What it needs to be called at all, and what keeps it from asking a person or taking a known port."""
    ids = ("job_id", "ids", "traced", "event_id", "endpoint_id", "run_id")
    given = {name: [ID] for name in (*ids, "assignment", "override", "anomaly")}
    given |= {"revision": ["0001"], "plan_id": ["pro"], "event": ["report.opened"]}
    given |= {"key": ["api.requests"], "quota": ["api.requests"], "name": ["deactivate"], "state": ["active"]}
    options = {
        "workspace": ["--workspace", ID],
        "dataset": ["--dataset", str(CASES if command.name == "evaluate" else DATASET)],
        "out": ["--out", "judged"],
        "kind": ["--kind", "work"],
        "tool": ["--tool", "search"],
        "reason": ["--reason", "a test"],
        "by": ["--by", "ada"],
        "units": ["--units", "1"],
        "version": ["--version", "1"],
        "until": ["--until", "2031-03-01T12:00:00Z"],
        "yes": ["--yes"],
        "port": ["--port", "0"],
        "workers": ["--workers", "0"],
    }
    words: list[str] = []
    for parameter in command.params:
        name = str(parameter.name)
        if parameter.param_type_name == "argument":
            assert name in given, f"say in this test what to give for the argument {name}"
            words += given[name]
        elif name in options and (parameter.required or name not in {"kind", "until", "units", "version"}):
            words += options[name]
        else:
            assert not parameter.required or parameter.envvar, f"say in this test what to give for the option {name}"
    return words


def takes_json(command: Any) -> bool:
    return any("--json" in parameter.opts for parameter in command.params)


# Places that are no usable database -------------------------------------------------------------------------------


class _Closing(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        return


class _Http(socketserver.BaseRequestHandler):
    """As a web server answers what is no request; it leaves it to the other side to hang up."""

    def handle(self) -> None:
        self.request.recv(1024)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 11\r\n\r\nBad Request")
        with suppress(ConnectionError):
            self.request.recv(1024)


@contextmanager
def listening(handler: type[socketserver.BaseRequestHandler]) -> Iterator[int]:
    """The port of a server that is not Postgres."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture(scope="module")
def closing_port() -> Iterator[int]:
    with listening(_Closing) as port:
        yield port


@pytest.fixture(scope="module")
def http_port() -> Iterator[int]:
    with listening(_Http) as port:
        yield port


@pytest.fixture(scope="module")
def refused_port() -> Iterator[int]:
    """Bound, so that nobody else takes it, and not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="module")
def bare(cluster: EmbeddedPostgres, template: Prepared) -> Iterator[str]:
    """The name of a database that was never prepared, in a cluster where another one was."""
    name = f"bare{uuid7().hex}"
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    yield name
    with psycopg.connect(cluster.url(), autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def spoil(refused_port: int, closing_port: int, http_port: int, bare: str) -> Spoil:
    """`spoil(url, fault)`: the URL with the fault."""
    ports = {"refused port": refused_port, "closing": closing_port, "http": http_port}

    def spoil(url: str, fault: str) -> str:
        parts = urlsplit(url)
        user, database = str(parts.username), parts.path.strip("/")
        if fault == "wrong password":
            return url.replace(f":{parts.password}@", f":{SECRET}@")
        if fault == "unknown database":
            return url.replace(f"/{database}?", "/no_such_database?")
        if fault == "bare":
            return url.replace(f"/{database}?", f"/{bare}?")
        if fault == "unknown host":
            return f"postgresql://{user}:{SECRET}@no-such-host.invalid:5432/{database}"
        if fault == "unreadable":
            return f"postgresql://{user}:{SECRET}@127.0.0.1:port/{database}"
        return f"postgresql://{user}:{SECRET}@127.0.0.1:{ports[fault]}/{database}"

    return spoil


@pytest.fixture
def spoiled(
    request: pytest.FixtureRequest,
    cluster: EmbeddedPostgres,
    template: Prepared,
    spoil: Spoil,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """Settings whose every URL has the fault of the test's parameter."""
    fault = str(request.param)
    monkeypatch.setenv("DATALANE_HOME", str(home))
    monkeypatch.setenv("DATALANE_START_PATIENCE", "0.3")
    monkeypatch.setenv("DATALANE_MASTER_KEY", "what wraps the keys of this lane")
    for name, url in {**template.as_environment(), "DATALANE_ADMIN_URL": cluster.url()}.items():
        monkeypatch.setenv(name, spoil(url, fault))
    return fault


# The promise ------------------------------------------------------------------------------------------------------


def cases() -> Iterator[Any]:
    """Two faults of every command, and all of one; the others are for the soak."""
    asking = [name for name in COMMANDS if name not in {*ASK_NO_DATABASE, "doctor"}]
    for name, fault in product(asking, FAULTS):
        often = name == "jobs list" or fault in {"refused port", "bare"}
        yield pytest.param(name, fault, marks=() if often else pytest.mark.soak)


def test_every_command_that_asks_no_database_exists() -> None:
    assert set(ASK_NO_DATABASE) <= set(COMMANDS)


@pytest.mark.parametrize(("name", "spoiled"), list(cases()), indirect=["spoiled"])
def test_a_database_that_cannot_be_used_is_one_clear_line(datalane: Command, name: str, spoiled: str) -> None:
    command = COMMANDS[name]
    words = [*name.split(), *arguments(command)]
    said = datalane(*words)
    if (name, spoiled) in WORKS:
        assert said.status == 0, said.err
        return
    assert said.status == 2, said
    assert_clear([line for line in said.err.splitlines() if not line.startswith("{")], said)
    if takes_json(command):
        as_json = datalane(*words, "--json")
        *_, last = as_json.out.splitlines()
        fault = orjson.loads(last)["error"]
        assert as_json.status == 2
        assert set(fault) == {"code", "message"}
        assert fault["code"] in {"database_unavailable", "configuration_error"}
        assert_clear([f"error: {fault['message']}"], as_json)


@pytest.mark.parametrize("spoiled", FAULTS, indirect=True)
def test_the_doctor_says_what_is_wrong_and_how_to_mend_it(datalane: Command, spoiled: str) -> None:
    said = datalane("doctor", "--port", "0")
    faults = [line for line in said.out.splitlines() if line.startswith("FAIL")]
    assert (said.status, said.err) == (1, "")
    assert faults, said.out
    assert SECRET not in said.out
    for check in datalane("doctor", "--port", "0", "--json").json["checks"]:
        assert check["state"] == "ok" or check["mend"], check
        assert "\n" not in check["message"]


def assert_clear(lines: list[str], said: Any) -> None:
    """The last of `lines` is the error: it says what is wrong, where, and what to look at."""
    errors = [line for line in lines if line.startswith("error: ")]
    assert errors == lines[-1:], said
    assert "Traceback" not in said.out + said.err
    assert SECRET not in said.out + said.err
    (error,) = errors
    assert "DATALANE_" in error or "admin URL" in error, error
    assert any(word in error for word in ("check", "run `datalane init", "write it as")), error
    assert len(error) < 600, error
