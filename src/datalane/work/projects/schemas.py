"""Projects as callers see them, and what callers say of them."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from datalane.work.schemas import OnConflict, Status, Thing, Version


class Project(Thing):
    project_id: UUID


class NewProject(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str
    description: str = ""
    status: Literal["draft", "active"] = "draft"


class ProjectChanges(BaseModel):
    """What is left out stays."""

    model_config = ConfigDict(extra="forbid")

    title: str | None = None
    description: str | None = None


class ProjectUpdate(BaseModel):
    """`merge` applies the edit to the newest version when nobody else changed the same fields meanwhile."""

    model_config = ConfigDict(extra="forbid")

    project_id: UUID
    version: Version | None = None
    changes: ProjectChanges
    on_conflict: OnConflict = "fail"


class ProjectTransition(BaseModel):
    model_config = ConfigDict(extra="forbid")

    project_id: UUID
    version: Version | None = None
    status: Status


class ProjectTarget(BaseModel):
    """A project to delete or to restore."""

    model_config = ConfigDict(extra="forbid")

    project_id: UUID
    version: Version | None = None


class ProjectPage(BaseModel):
    data: list[Project]
    page_size: int
    next_cursor: str | None
