"""`datalane trace`: from an answer, a citation or a thumbs-down to the cited bytes and every version involved."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from datalane.cli.output import AsJson, print_json, printable
from datalane.settings import load_settings

if TYPE_CHECKING:
    from uuid import UUID

    from rich.tree import Tree

    from datalane.knowledge.evidence.schemas import Trace, TracedChunk, TracedCitation, TracedVersion
    from datalane.knowledge.moderation.schemas import Moderation

_NOT_VERIFIED = 1


def trace(
    traced: Annotated[str, typer.Argument(help="The id of a response, a citation or feedback.")],
    workspace: Annotated[str, typer.Option("--workspace", "-w", help="The id of its workspace.")],
    as_json: AsJson = False,
) -> None:
    """Show why an answer says what it says, or what chunk feedback is on. Exit status 1: no quote, or one that is not
    what was cited; a chunk that is not what is stored."""
    from rich.console import Console

    from datalane.cli.office import parse_id

    found = asyncio.run(
        _trace(parse_id(workspace, "a workspace"), parse_id(traced, "a response, citation or feedback"))
    )
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        Console().print(_tree(found), highlight=False)
    if not found.verified:
        sys.exit(_NOT_VERIFIED)


async def _trace(workspace_id: UUID, traced_id: UUID) -> Trace:
    from datalane.cli.office import Office
    from datalane.contracts.context import Context
    from datalane.knowledge.evidence import service

    context = Context.system(workspace_id)
    async with Office(load_settings()).database() as database, database.transaction(context) as tx:
        return await service.trace(tx, traced_id)


def _tree(found: Trace) -> Tree:
    from rich.tree import Tree

    what = f"response {found.response_id}" if found.chunk is None else f"chunk {found.chunk.chunk_id}, feedback"
    told = [what, f"{found.created_at:%Y-%m-%d %H:%M:%S}", f"by {found.actor_id}"]
    tree = Tree(", ".join(told))
    if found.fallback:
        tree.add(f"[bold red]{found.fallback}[/]")
    if found.question:
        tree.add(f"asked: {_plain(found.question)}")
    for given in found.feedback:
        on = f"citation {given.citation_id}" if given.citation_id else "the chunk" if given.chunk_id else "the response"
        tree.add(
            f"thumbs {given.rating} on {on} by {given.actor_id}"
            + (f": {_plain(given.comment)}" if given.comment else "")
        )
    for learned in found.calibrations:
        tree.add(
            f"confidence by calibration {learned.calibration_id}, learned from {learned.results} judged results of run "
            f"{learned.run_id}: off by {learned.calibration_error:.3f} on average"
        )
    for segment in found.segments:
        branch = tree.add(_plain(segment.text))
        for traced in segment.citations:
            _add_citation(branch, traced)
        if not segment.citations:
            branch.add("[bold red]no evidence[/]")
    if found.chunk is not None:
        _add_chunk(tree, found.chunk)
    involved = tree.add(f"correlation id {found.correlation_id}; versions involved")
    for part, versions in found.versions.model_dump(mode="json").items():
        involved.add(f"{part.replace('_', ' ')}: {_plain(', '.join(versions) or '-')}")
    return tree


def _plain(text: str | None) -> str:
    """What somebody wrote, without marks or control characters that the terminal would obey."""
    from rich.markup import escape

    return escape(printable(text or "-"))


def _why(moderation: Moderation) -> str:
    told = f"{moderation.category}, by {moderation.actor_id} at {moderation.created_at:%Y-%m-%d %H:%M:%S}"
    told += f", outcome {moderation.reference}" if moderation.reference else ""
    return f"{told}: {moderation.reason}" if moderation.reason else told


def _add_citation(branch: Tree, traced: TracedCitation) -> None:
    citation, version = traced.citation, traced.document_version
    verdict = "verified" if citation.verified else f"[bold red]{citation.fault}[/]"
    source = "said by the caller" if citation.calibration_id is None else "calibrated"
    leaf = branch.add(
        f"citation {citation.citation_id}: {verdict}, {citation.evidence_type}, {citation.confidence_band} "
        f"({citation.confidence_score:.2f}, {source})"
    )
    if citation.suppressed and citation.moderation is not None:
        leaf.add(f"[bold red]suppressed[/]: {_plain(_why(citation.moderation))}")
    if citation.quote is not None:
        leaf.add(f"\u201c{_plain(citation.quote)}\u201d")
    leaf.add(
        f"characters {citation.quote_start_offset} to {citation.quote_end_offset}, bytes {traced.quote_start_byte} to "
        f"{traced.quote_end_byte}{_place(traced)}; sha256 {traced.quote_sha256}"
    )
    title = citation.source_title or citation.source_uri
    _add_version(leaf, version, title, f"found by {_plain(citation.embedding_model_version)}")


def _add_chunk(tree: Tree, chunk: TracedChunk) -> None:
    verdict = "verified" if chunk.verified else f"[bold red]{chunk.fault}[/]"
    leaf = tree.add(f"chunk {chunk.chunk_id}: {verdict}")
    if chunk.text is not None:
        leaf.add(f"\u201c{_plain(chunk.text)}\u201d")
        leaf.add(
            f"characters {chunk.start_offset} to {chunk.end_offset}, bytes {chunk.start_byte} to {chunk.end_byte}"
            f"{_place(chunk)}"
        )
    embedded = f"embedded by {_plain(', '.join(chunk.embedded_by) or None)}"
    _add_version(leaf, chunk.document_version, chunk.source_title or chunk.source_uri, embedded)


def _place(traced: TracedCitation | TracedChunk) -> str:
    page = f", page {traced.page}" if traced.page is not None else ""
    return page + (f", under {_plain(traced.heading)}" if traced.heading is not None else "")


def _add_version(leaf: Tree, version: TracedVersion | None, said_title: str | None, model: str) -> None:
    if version is None:
        leaf.add("[bold red]the document is gone[/]")
        return
    current = "current" if version.is_current else "not current"
    title = _plain(said_title or str(version.document_id))
    leaf.add(f"{title}: document {version.document_id}, version {version.version} ({current}), {version.version_id}")
    leaf.add(f"original: {version.size_bytes} bytes of {_plain(version.media_type)}, sha256 {version.content_sha256}")
    leaf.add(
        f"made by parser {_plain(version.parser_version)}, chunker {_plain(version.chunker_version)}; {model}; "
        f"job {version.ingestion_job_id}"
    )
