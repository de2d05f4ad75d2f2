"""Notes: a slice of an application on the lane.

datalane up --app app:lane       the lane with this application's routes and handlers
python app.py                    make the notes' schema, once
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from notes import handlers, permissions

from datalane import Lane
from datalane.db.home import maintenance_url
from datalane.db.roles import Roles
from datalane.settings import load_settings

if TYPE_CHECKING:
    from fastapi import APIRouter

    from datalane.contracts.http import Door

lane = Lane()
lane.event("note.created", {"type": "object", "properties": {"note_id": {"type": "string"}}, "required": ["note_id"]})
lane.handlers.on_event("note.created")(handlers.finish_short_notes)
assert permissions  # its lines are in the role matrix in every process


@lane.serve
def routes(door: Door) -> APIRouter:
    from notes.routes import router  # a worker serves nothing, and loads no web framework

    return router(door)


def prepare() -> None:
    """Make the schema, as the owner role, which the maintenance login may step into."""
    settings = load_settings()
    roles = Roles(settings.role_prefix)
    script = roles.render((Path(__file__).parent / "schema.sql").read_text())
    with psycopg.connect(maintenance_url(settings)) as connection:
        connection.execute(f"SET ROLE {roles.owner}".encode())
        connection.execute(script.encode())


if __name__ == "__main__":
    prepare()
