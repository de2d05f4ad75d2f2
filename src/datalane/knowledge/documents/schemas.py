"""Documents as callers see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datalane.contracts.storable import Text
from datalane.errors import InvalidInput
from datalane.kit.strict_json import parse_json


class NewDocument(BaseModel):
    """What an upload says beside the file's bytes. `document_id` adds a version to that document, whose tags and
    metadata become what is said of them, if anything is.

    The lane's limits (title, tags, metadata) are checked when it is stored.
    """

    filename: str | None = Field(default=None, max_length=500)
    media_type: str | None = Field(default=None, max_length=200)
    title: str | None = None
    source_uri: str | None = Field(default=None, max_length=2_000)
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)
    document_id: UUID | None = None


def describe_file(**said: Any) -> NewDocument:
    """What a caller said of a file; None was not said. Raises `InvalidInput` naming the fields that are wrong."""
    try:
        return NewDocument(**{name: value for name, value in said.items() if value is not None})
    except ValidationError as error:
        faults = [{"field": ".".join(map(str, fault["loc"])), "message": fault["msg"]} for fault in error.errors()]
        said_wrong = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
        raise InvalidInput(f"the file is described wrongly: {said_wrong}", faults) from error


def read_metadata(said: str | None) -> dict[str, Any] | None:
    """Metadata from a form's field; None where it says nothing. Raises `InvalidInput` for what is no JSON object."""
    if not said:
        return None
    try:
        metadata = parse_json(said, name="metadata")
        if not isinstance(metadata, dict):
            raise InvalidInput("metadata is a JSON object")
    except InvalidInput as error:
        raise InvalidInput(str(error), [{"field": "metadata", "message": str(error)}]) from error
    return metadata


class WithdrawSource(BaseModel):
    """A source that has gone."""

    model_config = ConfigDict(extra="forbid")

    source_uri: Text = Field(min_length=1, max_length=2_000)


class Ingestion(BaseModel):
    """The job that brings the newest version in, or the last replay of it; its states are the states of jobs.

    A text that was indexed directly has no job. `attempt_count` is null then, and once the history of the completed job
    is past its retention. The error is the latest one, also of a job that completed after it.
    """

    job_id: UUID | None
    status: str
    attempt_count: int | None
    error_class: str | None
    error_message: str | None
    replay_eligible: bool


class Document(BaseModel):
    """A document. `current_version_id` is what retrieval sees; null until the first version is in."""

    document_id: UUID
    title: str | None
    source_uri: str | None
    filename: str | None
    media_type: str | None
    size_bytes: int
    tags: list[str]
    metadata: dict[str, Any]
    version_id: UUID
    version: int
    current_version_id: UUID | None
    chunks: int
    created_at: datetime
    updated_at: datetime
    ingestion: Ingestion


class Uploaded(BaseModel):
    """`created` is false when the same bytes of the same source were here already."""

    document_id: UUID
    version_id: UUID
    job_id: UUID | None
    created: bool


class DocumentPage(BaseModel):
    data: list[Document]
    page_size: int
    next_cursor: str | None


class Deleted(BaseModel):
    """The receipt of a deletion: what went with its transaction, and how many originals a job removes. `postings` are
    the rows of the keyword index."""

    document_id: UUID
    versions: int
    chunks: int
    vectors: int
    postings: int
    files: int
