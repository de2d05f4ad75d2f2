"""Fields as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.work.fields.definitions import FieldType
from datalane.work.schemas import Version

Key = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]{0,62}$", description="1 to 63 of a-z, 0-9 and _, beginning with a letter"),
]


class FieldOfItems(BaseModel):
    """`indexed` is what was asked for, `index_state` what there is: items are found by a field that is `ready`.

    `old_keys` are those that it had before; values that stand under one in an item are shown under `key`.
    """

    field_id: UUID
    key: str
    type: FieldType
    required: bool
    indexed: bool
    index_state: Literal["none", "building", "ready"]
    sensitive: bool
    old_keys: list[str]
    version: int
    created_at: datetime
    updated_at: datetime
    created_by_actor_id: UUID
    updated_by_actor_id: UUID


class FieldList(BaseModel):
    """All fields of the workspace, by key."""

    data: list[FieldOfItems]


class NewField(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: Key
    type: FieldType
    required: bool = False
    indexed: bool = False
    sensitive: bool = False


class FieldTarget(BaseModel):
    """The field by its id or by its key of now: one of the two."""

    model_config = ConfigDict(extra="forbid")

    field_id: UUID | None = None
    key: str | None = None
    version: Version | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.field_id is None) == (self.key is None):
            raise ValueError("say which field by field_id or by key, one of the two")
        return self


class FieldChanges(BaseModel):
    """What is left out stays. The type of a field is for good: define another one."""

    model_config = ConfigDict(extra="forbid")

    required: bool | None = None
    indexed: bool | None = None
    sensitive: bool | None = None


class FieldUpdate(FieldTarget):
    changes: FieldChanges


class FieldRename(FieldTarget):
    new_key: Key
