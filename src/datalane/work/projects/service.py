"""Creating, reading and changing projects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import Conflict, DatalaneError, InvalidInput, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.settings import Limits
from datalane.work.changes import differences
from datalane.work.editing import Ask, Edit, content, decide, find_stale
from datalane.work.journal import Mutation, write_journal
from datalane.work.permissions import CHANGE_PROJECTS, CREATE_PROJECTS, READ_PROJECTS
from datalane.work.projects.schemas import (
    NewProject,
    Project,
    ProjectChanges,
    ProjectPage,
    ProjectTarget,
    ProjectTransition,
    ProjectUpdate,
)
from datalane.work.schemas import Status
from datalane.work.states import PROJECT
from datalane.work.texts import check_description, check_title
from datalane.work.timeline.service import list_changed_fields

_queries = load_queries(__file__)


async def get_project(tx: Transaction, project_id: UUID, *, deleted: bool = False) -> Project:
    """Raises `NotFound`; a deleted project is found with `deleted` only."""
    READ_PROJECTS.check(tx.context)
    row = await _queries.get_project(tx.connection, workspace_id=tx.workspace_id, project_id=project_id)
    if row is None or (row["deleted_at"] is not None) != deleted:
        raise NotFound("no such project")
    return Project(**row)


async def list_projects(
    tx: Transaction, statuses: Sequence[Status] = (), cursor: str | None = None, page_size: int = 25
) -> ProjectPage:
    """Projects that are not deleted, the last changed first. Raises `InvalidInput` for another list's cursor."""
    READ_PROJECTS.check(tx.context)
    after = tx.read_cursor("projects", cursor)
    rows = await _queries.list_projects(
        tx.connection,
        workspace_id=tx.workspace_id,
        statuses=list(statuses) or None,
        after_time=datetime.fromisoformat(after[0]) if after else None,
        after_id=UUID(after[1]) if after else None,
        page_size=page_size + 1,
    )
    page, following = tx.cut_page(
        "projects", rows, page_size, lambda row: [row["updated_at"].isoformat(), row["project_id"]]
    )
    return ProjectPage(data=[Project(**row) for row in page], page_size=page_size, next_cursor=following)


async def create_project(tx: Transaction, new: NewProject, now: datetime | None = None) -> Project:
    """Raises `InvalidInput` for a title or description that cannot be."""
    CREATE_PROJECTS.check(tx.context)
    project = _new(new, tx.limits, tx.context.actor_id, now or utc_now())
    await _queries.add_project(
        tx.connection,
        workspace_id=tx.workspace_id,
        project_id=project.project_id,
        title=project.title,
        description=project.description,
        status=project.status,
        now=project.created_at,
        actor_id=project.created_by_actor_id,
    )
    await write_journal(tx, [Mutation("project", project.project_id, 1, "created")], project.created_at)
    return project


async def update_project(tx: Transaction, update: ProjectUpdate, now: datetime | None = None) -> Project:
    """The project after the edit; an edit of nothing leaves no trace.

    Raises `NotFound`, `StaleVersion`, `InvalidInput`.
    """
    fields = frozenset(update.changes.model_fields_set)
    merges = update.on_conflict == "merge"
    changed = _updating(update.changes, tx.limits)
    return await _change(tx, Ask(update.project_id, update.version, "updated", changed, fields, merges), now)


async def transition_project(tx: Transaction, transition: ProjectTransition, now: datetime | None = None) -> Project:
    """Raises as `update_project`, and `IllegalTransition` naming the states."""
    at = now or utc_now()

    def moved(project: Project) -> Project:
        PROJECT.check(project.status, transition.status)
        archived_at = at if transition.status == "archived" else None
        return project.model_copy(update={"status": transition.status, "archived_at": archived_at})

    ask = Ask(transition.project_id, transition.version, "transitioned", moved, frozenset({"status"}))
    return await _change(tx, ask, at)


async def delete_project(tx: Transaction, target: ProjectTarget, now: datetime | None = None) -> Project:
    """Take a project out of sight until it is restored. Raises as `update_project`, `Conflict` if it has items."""
    at = now or utc_now()
    ask: Ask[Project] = Ask(
        target.project_id, target.version, "deleted", lambda project: project.model_copy(update={"deleted_at": at})
    )
    return await _change(tx, ask, at)


async def restore_project(tx: Transaction, target: ProjectTarget, now: datetime | None = None) -> Project:
    """The project as it was, with a new version. Raises as `update_project`."""
    ask: Ask[Project] = Ask(
        target.project_id,
        target.version,
        "restored",
        lambda project: project.model_copy(update={"deleted_at": None}),
        of_deleted=True,
    )
    return await _change(tx, ask, now)


def _new(new: NewProject, limits: Limits, actor_id: UUID, now: datetime) -> Project:
    return Project(
        project_id=uuid7(),
        title=check_title(new.title, "title", limits),
        description=check_description(new.description, "description"),
        status=new.status,
        version=1,
        created_at=now,
        updated_at=now,
        archived_at=None,
        deleted_at=None,
        created_by_actor_id=actor_id,
        updated_by_actor_id=actor_id,
    )


def _updating(changes: ProjectChanges, limits: Limits) -> Callable[[Project], Project]:
    def updated(project: Project) -> Project:
        after: dict[str, Any] = {}
        if "title" in changes.model_fields_set:
            if changes.title is None:
                fault = {"field": "title", "message": "cannot be null; leave it out to keep it", "code": "null"}
                raise InvalidInput("title: cannot be null; leave it out to keep it", [fault])
            after["title"] = check_title(changes.title, "title", limits)
        if "description" in changes.model_fields_set:
            after["description"] = check_description(changes.description or "", "description")
        return project.model_copy(update=after)

    return updated


async def _change(tx: Transaction, ask: Ask[Project], now: datetime | None) -> Project:
    CHANGE_PROJECTS.check(tx.context)
    row = await _queries.lock_project(tx.connection, workspace_id=tx.workspace_id, project_id=ask.id)
    current = {} if row is None else {ask.id: Project(**row)}
    changed = await list_changed_fields(tx, "project", find_stale([ask], current))
    edit = decide(ask, current.get(ask.id), changed.get(ask.id, ()), "project")
    if edit is None:
        return current[ask.id]
    if ask.action == "deleted" and await _has_items(tx, ask.id):
        raise Conflict("the project has items; delete them or move them to another one first, or archive the project")
    return await _write(tx, edit, now or utc_now())


async def _has_items(tx: Transaction, project_id: UUID) -> bool:
    return bool(await _queries.has_items(tx.connection, workspace_id=tx.workspace_id, project_id=project_id))


async def _write(tx: Transaction, edit: Edit[Project], now: datetime) -> Project:
    assert edit.before is not None
    marks = {"version": edit.before.version + 1, "updated_at": now, "updated_by_actor_id": tx.context.actor_id}
    after = edit.after.model_copy(update=marks)
    done = await _queries.set_project(
        tx.connection,
        workspace_id=tx.workspace_id,
        project_id=after.project_id,
        title=after.title,
        description=after.description,
        status=after.status,
        archived_at=after.archived_at,
        deleted_at=after.deleted_at,
        version=after.version,
        now=now,
        actor_id=after.updated_by_actor_id,
    )
    if done != "UPDATE 1":
        raise DatalaneError(f"a project was locked to be written, and the database says {done}")
    step = {"from": edit.before.status, "to": after.status} if edit.action == "transitioned" else {}
    changes = differences(content(edit.before), content(after))
    await write_journal(tx, [Mutation("project", after.project_id, after.version, edit.action, changes, step)], now)
    return after
