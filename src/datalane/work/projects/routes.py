"""Routes of projects."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.responses import Response

from datalane.contracts.http import Door
from datalane.db.transaction import Transaction
from datalane.work.permissions import CHANGE_PROJECTS, CREATE_PROJECTS, READ_PROJECTS
from datalane.work.preconditions import IfMatch, tagged
from datalane.work.projects import service
from datalane.work.projects.schemas import (
    NewProject,
    Project,
    ProjectPage,
    ProjectTarget,
    ProjectTransition,
    ProjectUpdate,
)
from datalane.work.schemas import Status


def router(door: Door) -> APIRouter:
    routes = door.router(prefix="/projects", tags=["projects"])
    _add_commands(routes, door)
    _add_reads(routes, door)
    return routes


def _add_commands(routes: APIRouter, door: Door) -> None:
    @routes.post("/create", status_code=201)
    async def create(body: NewProject, response: Response, tx: Transaction = door.writer(CREATE_PROJECTS)) -> Project:
        """Make a project."""
        return tagged(await service.create_project(tx, body), response)

    @routes.post("/update")
    async def update(
        body: ProjectUpdate, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_PROJECTS)
    ) -> Project:
        """Change fields of the version that you saw. A stale version gets the current row and what others changed."""
        return await precondition.edit(service.update_project, tx, body)

    @routes.post("/transition")
    async def transition(
        body: ProjectTransition, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_PROJECTS)
    ) -> Project:
        """Move a project from draft to active, from active to archived, or back. An archived one takes no items."""
        return await precondition.edit(service.transition_project, tx, body)

    @routes.post("/delete")
    async def delete(
        body: ProjectTarget, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_PROJECTS)
    ) -> Project:
        """Take a project without items out of sight; `restore` brings it back."""
        return await precondition.edit(service.delete_project, tx, body)

    @routes.post("/restore")
    async def restore(
        body: ProjectTarget, precondition: IfMatch, tx: Transaction = door.writer(CHANGE_PROJECTS)
    ) -> Project:
        """Bring a deleted project back as it was."""
        return await precondition.edit(service.restore_project, tx, body)


def _add_reads(routes: APIRouter, door: Door) -> None:
    most = door.settings.limits.page_size
    size = Query(min(25, most), ge=1, le=most)

    @routes.get("/list")
    async def list_projects(
        status: Annotated[list[Status] | None, Query(max_length=3)] = None,
        page_size: int = size,
        cursor: str | None = None,
        tx: Transaction = door.reader(READ_PROJECTS),
    ) -> ProjectPage:
        """Projects, the last changed first. `cursor` is the `next_cursor` of the page before."""
        return await service.list_projects(tx, status or (), cursor, page_size)

    @routes.get("/{project_id}")
    async def get_project(
        project_id: UUID, response: Response, deleted: bool = False, tx: Transaction = door.reader(READ_PROJECTS)
    ) -> Project:
        """One project, with its version as `ETag`. A deleted one is found with `deleted=true` only."""
        return tagged(await service.get_project(tx, project_id, deleted=deleted), response)
