"""Projects: the same life and the same care as items; items that belong to one keep it from being deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.integration.work.conftest import Desk

from datalane.db.transaction import Transaction
from datalane.errors import Conflict, IllegalTransition, InvalidInput, NotFound, StaleVersion
from datalane.work.projects import service
from datalane.work.projects.schemas import (
    NewProject,
    Project,
    ProjectChanges,
    ProjectTarget,
    ProjectTransition,
    ProjectUpdate,
)

pytestmark = pytest.mark.one_database


async def create(desk: Desk, title: str = "The garden", **said: Any) -> Project:
    async with desk.database.transaction(desk.context) as tx:
        return await service.create_project(tx, NewProject(title=title, **said))


async def update(desk: Desk, project: Project, on_conflict: Any = "fail", **changes: Any) -> Project:
    ask = ProjectUpdate(
        project_id=project.project_id,
        version=project.version,
        changes=ProjectChanges(**changes),
        on_conflict=on_conflict,
    )
    async with desk.database.transaction(desk.context) as tx:
        return await service.update_project(tx, ask)


async def move(desk: Desk, project: Project, status: Any) -> Project:
    ask = ProjectTransition(project_id=project.project_id, version=project.version, status=status)
    async with desk.database.transaction(desk.context) as tx:
        return await service.transition_project(tx, ask)


async def aim(desk: Desk, act: Callable[[Transaction, ProjectTarget], Awaitable[Project]], project: Project) -> Project:
    async with desk.database.transaction(desk.context) as tx:
        return await act(tx, ProjectTarget(project_id=project.project_id, version=project.version))


async def test_a_project_lives_like_an_item(desk: Desk) -> None:
    made = await create(desk)
    renamed = await update(desk, made, title="The yard")
    assert (renamed.title, renamed.version) == ("The yard", 2)
    with pytest.raises(IllegalTransition, match="project cannot go from draft to archived"):
        await move(desk, renamed, "archived")
    archived = await move(desk, await move(desk, renamed, "active"), "archived")
    assert archived.archived_at is not None
    deleted = await aim(desk, service.delete_project, archived)
    restored = await aim(desk, service.restore_project, deleted)
    assert (restored.status, restored.version, restored.deleted_at) == ("archived", 6, None)
    told = await desk.rows("SELECT event_type FROM datalane.events WHERE event_type LIKE 'project.%' ORDER BY event_id")
    assert [name for (name,) in told] == [
        f"project.{step}" for step in ("created", "updated", "transitioned", "transitioned", "deleted", "restored")
    ]
    assert await desk.faults() == []


async def test_two_edits_of_a_project_meet(desk: Desk) -> None:
    seen = await create(desk)
    newest = await update(desk, seen, title="The yard")
    with pytest.raises(StaleVersion) as late:
        await update(desk, seen, title="The park")
    assert late.value.told["current"] == newest.model_dump(mode="json")
    merged = await update(desk, seen, "merge", description="With a pond.")
    assert (merged.title, merged.description, merged.version) == ("The yard", "With a pond.", 3)


async def test_an_archived_or_deleted_project_takes_no_items(desk: Desk) -> None:
    project = await create(desk, status="active")
    item = await desk.create(project_id=project.project_id)
    with pytest.raises(Conflict, match="the project has items"):
        await aim(desk, service.delete_project, project)
    await desk.delete(item)
    archived = await move(desk, project, "archived")
    with pytest.raises(Conflict, match="is archived and takes no items"):
        await desk.create(project_id=project.project_id)
    deleted = await aim(desk, service.delete_project, archived)
    with pytest.raises(InvalidInput, match="no such project"):
        await desk.create(project_id=project.project_id)
    with pytest.raises(InvalidInput, match="no such project"):
        await desk.restore(item.model_copy(update={"version": 2}))
    await aim(desk, service.restore_project, deleted)
    with pytest.raises(NotFound):
        await aim(desk, service.restore_project, deleted)
    assert await desk.faults() == []


async def test_a_project_is_never_deleted_under_an_item_that_is_being_made(desk: Desk) -> None:
    """Whoever comes first wins, however the two transactions lie."""
    for _ in range(10):
        project = await create(desk)
        made, gone = await asyncio.gather(
            desk.create(project_id=project.project_id),
            aim(desk, service.delete_project, project),
            return_exceptions=True,
        )
        assert isinstance(made, InvalidInput) != isinstance(gone, Conflict), (made, gone)
    assert await desk.faults() == []


async def test_projects_are_listed_page_by_page_the_last_changed_first(desk: Desk, other_desk: Desk) -> None:
    await create(other_desk, "Theirs")
    made = [await create(desk, f"Project {number}", status="active" if number % 2 else "draft") for number in range(7)]
    await aim(desk, service.delete_project, made[3])
    newest = await update(desk, made[0], title="Changed last")
    expected = [newest.title, *(f"Project {number}" for number in (6, 5, 4, 2, 1))]
    seen, cursor = list[str](), None
    while True:
        async with desk.database.transaction(desk.context) as tx:
            page = await service.list_projects(tx, cursor=cursor, page_size=2)
        seen += [project.title for project in page.data]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == expected
    async with desk.database.transaction(desk.context) as tx:
        active = await service.list_projects(tx, ["active"])
    assert [project.title for project in active.data] == ["Project 5", "Project 1"]


async def test_a_cursor_of_another_workspace_leads_nowhere(desk: Desk, other_desk: Desk) -> None:
    for number in range(2):
        await create(other_desk, f"Theirs {number}")
    async with other_desk.database.transaction(other_desk.context) as tx:
        cursor = (await service.list_projects(tx, page_size=1)).next_cursor
    with pytest.raises(InvalidInput, match="the cursor is of another workspace"):
        async with desk.database.transaction(desk.context) as tx:
            await service.list_projects(tx, cursor=cursor)
