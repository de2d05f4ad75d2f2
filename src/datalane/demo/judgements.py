"""Feedback as a dataset of judged queries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from datalane.errors import Conflict, NotFound
from datalane.knowledge.beir import QRELS, QUERIES
from datalane.knowledge.feedback.schemas import Judgement


def write_judgements(found: Sequence[Judgement], folder: Path) -> dict[str, int]:
    """Write `queries.jsonl` and `qrels.tsv`; answers how many of each.

    Raises `Conflict` for a folder with something in it, `NotFound` without any judgement.
    """
    if not found:
        raise NotFound("no feedback on chunks or citations names a question and a document with a source_uri")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Conflict(f"{folder} cannot be made a folder: {error.strerror}") from error
    if any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty")
    ids = {question: f"feedback-{n}" for n, question in enumerate(dict.fromkeys(one.question for one in found), 1)}
    queries = (json.dumps({"_id": key, "text": question}) for question, key in ids.items())
    (folder / QUERIES).write_text("".join(f"{line}\n" for line in queries), "utf-8")
    lines = (f"{ids[one.question]}\t{one.source_uri}\t{one.grade}" for one in found)
    (folder / QRELS).write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return {"queries": len(ids), "judgements": len(found)}
