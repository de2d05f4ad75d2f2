"""The embedded Postgres: one server on one data folder, driven through its own programs.

The server listens on a private Unix socket with SCRAM passwords and, when asked, on a loopback port. It dies with the
process that started it (Linux), survives restarts, and recovers by itself after a crash. `initdb` works in a staging
folder that is renamed when complete, so an interrupted first start leaves nothing half-made.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from datalane.db.access import Server
from datalane.db.binaries import PUBLIC_ROOT, Binaries, find_binaries, public_binaries, reachable, server_user
from datalane.db.leftovers import end_leftovers
from datalane.errors import ConfigurationError, DatabaseUnavailable

SUPERUSER = "postgres"
_READY_LINE = 7  # postmaster.pid: pid, folder, start, port, socket folder, address, shared memory, status
_PR_SET_PDEATHSIG = 1


class EmbeddedPostgres:
    """A server on the folder `home`; `start` and `stop` are synchronous and idempotent.

    `port` opens a loopback TCP port beside the Unix socket. `options` are server settings. Times are in seconds.
    """

    def __init__(
        self,
        home: Path,
        *,
        port: int | None = None,
        options: Mapping[str, str] | None = None,
        binaries: Binaries | None = None,
    ) -> None:
        self.user = server_user()
        self.home = home.resolve()
        self.root = _server_root(self.home) if self.user else self.home / "server"
        self.data = self.root / "pgdata"
        self.port = port
        self.options = dict(options or {})
        self.binaries = public_binaries(binaries or find_binaries())
        self.socket_dir = Path(tempfile.gettempdir()) / f"dl-{hashlib.sha256(str(self.data).encode()).hexdigest()[:10]}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def password(self) -> str:
        """The superuser's password, made at initdb and kept in the folder, readable by its owner only."""
        return (self.root / "superuser-password").read_text().strip()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process and self._process.poll() is None else None

    def url(self, database: str = "postgres", user: str = SUPERUSER, password: str | None = None) -> str:
        """A libpq URL over the Unix socket."""
        secret = quote(password if password is not None else self.password, safe="")
        return f"postgresql://{user}:{secret}@/{database}?host={quote(str(self.socket_dir), safe='')}&port={self._port}"

    def tcp_url(self, database: str, user: str, password: str) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self._port}/{database}"

    @property
    def place(self) -> Server:
        """Where it listens: its private Unix socket."""
        return Server(str(self.socket_dir), self._port)

    @property
    def _port(self) -> int:
        return self.port or 5432

    @property
    def is_new(self) -> bool:
        """Whether the folder holds no database yet."""
        return not (self.data / "PG_VERSION").exists()

    def start(self, timeout: float = 60, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Start and wait until connections are accepted; a server left by a killed process is stopped first.

        `meanwhile` is called once, while the server's programs work: initdb on a new folder, else the server itself.
        Raises `ConfigurationError` when the folder cannot be used and `DatabaseUnavailable` when the server does not
        come up, with the end of its log.
        """
        if self.pid is not None:
            return
        self._make_folders()
        end_leftovers(self.data, self.socket_dir)
        new = self.is_new
        if new:
            self._initdb(meanwhile)
        self._check_version()
        self._launch()
        if not new:
            meanwhile()
        self._wait_ready(timeout)

    def stop(self, timeout: float = 30) -> None:
        """Stop cleanly: open transactions are rolled back, a checkpoint is written."""
        if self._process is None:
            return
        for stop_signal, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, 10.0)):
            if self._process.poll() is None:
                self._process.send_signal(stop_signal)
            try:
                self._process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        self._process = None
        shutil.rmtree(self.socket_dir, ignore_errors=True)

    def running(self) -> bool:
        return self.pid is not None

    def _make_folders(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.socket_dir.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"cannot use the data folder {self.root}: {error.strerror}") from error
        if self.socket_dir.stat().st_uid not in {os.geteuid(), self.user.pw_uid if self.user else -1}:
            raise ConfigurationError(f"the socket folder {self.socket_dir} belongs to another user; remove it")
        for folder in (self.root, self.socket_dir):
            folder.chmod(0o700)
            self._give(folder)

    def _give(self, path: Path) -> None:
        if self.user:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def _initdb(self, meanwhile: Callable[[], object]) -> None:
        staging = self.root / "pgdata.new"
        shutil.rmtree(staging, ignore_errors=True)
        password = self.root / "superuser-password"
        password.write_text(secrets.token_urlsafe(24) + "\n")
        password.chmod(0o600)
        self._give(password)
        command = [
            str(self.binaries.program("initdb")),
            *("-D", str(staging), "-U", SUPERUSER, "--pwfile", str(password), "--auth=scram-sha-256"),
            *("--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums", "--no-sync"),
        ]
        status, said = self._run(command, meanwhile)
        if status != 0:
            shutil.rmtree(staging, ignore_errors=True)
            raise DatabaseUnavailable(f"initdb failed in {self.root}: {said.strip()[-500:]}")
        staging.rename(self.data)

    def _run(self, command: Sequence[str], meanwhile: Callable[[], object]) -> tuple[int, str]:
        """Exit status and stderr of a program that writes little. It does not outlive this call."""
        with subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", **self._identity()
        ) as running:
            try:
                meanwhile()
                _, said = running.communicate()
            except BaseException:
                running.kill()
                raise
        return running.returncode, said

    def _check_version(self) -> None:
        ours = subprocess.run(
            [str(self.binaries.program("postgres")), "--version"], capture_output=True, text=True, check=True
        ).stdout.split()[2]
        theirs = (self.data / "PG_VERSION").read_text().strip()
        if ours.split(".")[0] != theirs:
            raise ConfigurationError(
                f"the data folder {self.data} belongs to PostgreSQL {theirs}, the installed server is {ours}; "
                "dump it with the old version and restore, or choose another DATALANE_HOME"
            )

    def _launch(self) -> None:
        settings = {
            "listen_addresses": "127.0.0.1" if self.port else "",
            "port": str(self._port),
            "unix_socket_directories": str(self.socket_dir),
            "unix_socket_permissions": "0700",
            **self.options,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self.log.touch(exist_ok=True)
        self._give(self.log)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [str(self.binaries.program("postgres")), "-D", str(self.data), *flags],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                preexec_fn=_die_with_parent(),
                **self._identity(),
            )

    @property
    def log(self) -> Path:
        return self.root / "postgres.log"

    def _identity(self) -> dict[str, Any]:
        if self.user is None:
            return {}
        return {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}

    def _wait_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while self._status() != "ready":
            assert self._process is not None
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace").strip().splitlines()[-6:]
                self.stop(5)
                raise DatabaseUnavailable("Postgres did not start; its log ends with:\n  " + "\n  ".join(tail))
            time.sleep(0.01)

    def _status(self) -> str | None:
        lines = self._pidfile()
        if len(lines) <= _READY_LINE or self._process is None or lines[0].strip() != str(self._process.pid):
            return None
        return lines[_READY_LINE].strip()

    def _pidfile(self) -> list[str]:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []


def _server_root(home: Path) -> Path:
    """`home` itself when the server's user can walk to it, else a public folder that stands for it."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make the folder {home}: {error.strerror}") from error
    if reachable(home / "server"):
        return home / "server"
    return PUBLIC_ROOT / f"home-{hashlib.sha256(str(home).encode()).hexdigest()[:12]}"


def _die_with_parent() -> Callable[[], None] | None:
    """A function for the child: ask Linux for a fast shutdown of the server when its starter dies."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
