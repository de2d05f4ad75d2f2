"""Where the demo runs: a Postgres of its own in a temporary home, or the database of the settings."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datalane.db.access import Access
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import prepare
from datalane.db.roles import Roles
from datalane.settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """Settings to open a lane with, and its database. `kept`: what the demo writes stays there."""

    settings: Settings
    database_url: str
    kept: bool


@contextmanager
def open_place(settings: Settings) -> Iterator[Place]:
    """With `DATALANE_DATABASE_URL` that database, else a scratch server that is stopped and removed at the end.

    Call it in the thread that outlives the block: the kernel ends the server together with the thread that started it.
    """
    if settings.database_url is not None:
        yield Place(settings, settings.database_url.get_secret_value(), kept=True)
        return
    home = Path(tempfile.mkdtemp(prefix="datalane-demo-"))
    home.chmod(0o755)
    server = EmbeddedPostgres(home)
    try:
        server.start()
        prepared = prepare(server.url(), "datalane", Access.generate(), Roles(settings.role_prefix))
        inside = settings.model_copy(update={"home": home, "files_url": None})
        yield Place(inside, prepared.database_url, kept=False)
    finally:
        server.stop(timeout=0)  # without a checkpoint: nobody will read this folder again
        for folder in (server.root, server.socket_dir, home):
            shutil.rmtree(folder, ignore_errors=True)
