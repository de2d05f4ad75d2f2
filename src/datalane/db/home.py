"""The home folder of a lane that brings its own Postgres: one lock, the roles' passwords, and what runs right now.

| file               | holds                                                            |
|--------------------|------------------------------------------------------------------|
| `lock`             | an exclusive `flock` while `datalane up` runs; its pid and URL   |
| `credentials.json` | the passwords of the three roles that log in, made once          |
| `running.json`     | addresses and process ids while it runs, so that others find it  |
| `metrics_token`    | what opens `/metrics`, made once, unless a setting says another  |
| `cursor_key`       | what signs the lists' cursors, made once, unless a setting does  |
| `master_key`       | what wraps the keys of secrets, made once, unless a setting does |
| `metrics/`         | the numbers of the processes while they run                      |

Files with secrets are readable by their owner only and are replaced whole. The lock belongs to the open file, so the
kernel gives it back however its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from datalane.db.access import Access, Prepared
from datalane.errors import ConfigurationError, Conflict
from datalane.settings import Settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Secret = TypeVar("Secret", bound="DataclassInstance")
_PROBE_PATIENCE = 0.5


@dataclass(frozen=True, slots=True)
class Running:
    """A lane that runs: its supervisor's pid, the API's URL, the database, and the pid of each service."""

    pid: int
    url: str
    prepared: Prepared
    processes: Mapping[str, int] = field(default_factory=dict)


class HomeLock:
    """The held lock. `announce` tells others the URL; `release` gives the folder back."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.announce(None)

    def announce(self, url: str | None) -> None:
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, orjson.dumps({"pid": os.getpid(), "url": url}), 0)

    def release(self) -> None:
        os.ftruncate(self._handle, 0)
        os.close(self._handle)


class Home:
    """One home folder. Nothing is made before it is needed."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @contextmanager
    def locked(self) -> Iterator[HomeLock]:
        """Hold the folder. Raises `Conflict` naming the pid and URL of the lane that holds it already."""
        self.make()
        handle = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if not _try_lock(handle, fcntl.LOCK_EX, _PROBE_PATIENCE):
            os.close(handle)
            raise Conflict(self._held_message())
        lock = HomeLock(handle)
        try:
            yield lock
        finally:
            lock.release()

    def is_locked(self) -> bool:
        """Whether a lane runs on this folder."""
        try:
            handle = os.open(self._lock, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise ConfigurationError(f"cannot read {self._lock}: {error.strerror}") from error
        try:
            return not _try_lock(handle, fcntl.LOCK_SH, 0)
        finally:
            os.close(handle)

    def make(self) -> None:
        """Raises `ConfigurationError` when the folder cannot be made or written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to the home folder {self.path}: {error.strerror}; choose another with DATALANE_HOME"
            ) from error

    def credentials(self) -> Access:
        """The passwords of this lane's roles, made on first use. Call it with the lock held."""
        return self.remembered("credentials.json", Access.generate, Access)

    def remembered(self, name: str, make: Callable[[], Secret], kind: Callable[..., Secret]) -> Secret:
        """The value kept in the file `name`, made and kept on first use. `kind` is its dataclass."""
        known = self._read(name)
        if known is None:
            made = make()
            self.remember(name, made)
            return made
        try:
            return kind(**known)
        except TypeError:
            raise self._damaged(name) from None

    def remember(self, name: str, value: DataclassInstance) -> None:
        """Keep a dataclass in the file `name`, readable by its owner only."""
        self._write(name, asdict(value))

    def secret(self, name: str) -> str:
        """The secret kept in the file `name` as plain text, made on first use, readable by its owner only.

        Processes that make it at the same time get the same one. Raises `ConfigurationError` when it can neither be
        read nor be made.
        """
        return self._read_secret(name) or self._make_secret(name)

    def _read_secret(self, name: str) -> str | None:
        path = self.path / name
        try:
            known = path.read_text().strip()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"cannot read {path}: {error}") from error
        if not known:
            raise ConfigurationError(f"{path} is empty; remove it, and a new one is made")
        return known

    def _make_secret(self, name: str) -> str:
        self.make()
        path, made = self.path / name, secrets.token_urlsafe(32)
        try:
            with self._staged(name, made.encode()) as staging:
                path.hardlink_to(staging)
        except FileExistsError:  # another process was faster
            return self.secret(name)
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from error
        return made

    def fresh_folder(self, name: str) -> Path:
        """An empty folder of this name. Call it with the lock held."""
        path = self.path / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        return path

    def running(self) -> Running | None:
        """The lane that runs on this folder, None when none does."""
        known = self._read("running.json") if self.is_locked() else None
        if known is None:
            return None
        try:
            return Running(**{**known, "prepared": Prepared(**known["prepared"])})
        except (KeyError, TypeError):
            raise self._damaged("running.json") from None

    def write_running(self, running: Running) -> None:
        self._write("running.json", asdict(running))

    def clear_running(self) -> None:
        (self.path / "running.json").unlink(missing_ok=True)

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    def _held_message(self) -> str:
        try:
            holder = orjson.loads(self._lock.read_bytes())
        except (OSError, orjson.JSONDecodeError):
            holder = {}
        where = f" at {holder['url']}" if holder.get("url") else ""
        return (
            f"a lane already runs on {self.path} (pid {holder.get('pid', 'unknown')}{where}); "
            "stop it, or choose another folder with DATALANE_HOME"
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            value = orjson.loads((self.path / name).read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ConfigurationError(f"cannot read {self.path / name}: {error.strerror}") from error
        except orjson.JSONDecodeError:
            raise self._damaged(name) from None
        if not isinstance(value, dict):
            raise self._damaged(name)
        return value

    def _write(self, name: str, value: dict[str, Any]) -> None:
        self._replace(name, orjson.dumps(value, option=orjson.OPT_INDENT_2))

    def _replace(self, name: str, content: bytes) -> None:
        with self._staged(name, content) as staging:
            staging.replace(self.path / name)

    @contextmanager
    def _staged(self, name: str, content: bytes) -> Iterator[Path]:
        """A whole file of its owner beside the one of this name, to be put in its place."""
        handle, staging = tempfile.mkstemp(dir=self.path, prefix=f".{name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield Path(staging)
        finally:
            Path(staging).unlink(missing_ok=True)

    def _damaged(self, name: str) -> ConfigurationError:
        return ConfigurationError(
            f"{self.path / name} is damaged; remove it and run `datalane up`, which writes it anew"
        )


def connection_settings(settings: Settings) -> Prepared:
    """The addresses of the database: those of the settings, else of the lane that runs on the home folder.

    With `DATALANE_DATABASE_URL`, a URL that is not set is an empty string. Raises `ConfigurationError` when no
    database is configured and nothing runs.
    """
    if settings.database_url is not None:
        return Prepared(
            database_url=settings.database_url.get_secret_value(),
            maintenance_url=settings.maintenance_url.get_secret_value() if settings.maintenance_url else "",
            operator_url=settings.operator_url.get_secret_value() if settings.operator_url else "",
        )
    home = Home(settings.home)
    running = home.running()
    if running is None:
        raise ConfigurationError(
            f"no lane runs on {home.path}; start it with `datalane up`, or set DATALANE_DATABASE_URL or DATALANE_HOME"
        )
    return running.prepared


def maintenance_url(settings: Settings) -> str:
    """The maintenance login's URL. Raises `ConfigurationError` when it is not set or nothing runs."""
    if settings.maintenance_url is not None:
        return settings.maintenance_url.get_secret_value()
    url = connection_settings(settings).maintenance_url
    if not url:
        raise ConfigurationError(
            "this needs the maintenance login; set DATALANE_MAINTENANCE_URL as `datalane init` printed it"
        )
    return url


def _try_lock(handle: int, kind: int, patience: float) -> bool:
    """Take the lock, waiting up to `patience` seconds: somebody may just be looking whether it is held."""
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        else:
            return True
