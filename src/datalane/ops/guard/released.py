"""Released revisions do not change: `released.json` keeps a SHA-256 of each of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import orjson

from datalane.errors import ConfigurationError, Conflict
from datalane.ops.guard.revisions import Revision
from datalane.ops.guard.rules import Fault, rule

RECORD = "released.json"
"""Beside the folder of revisions."""

Released = Mapping[str, Mapping[str, str]]
"""Revision number → file name → SHA-256 in hex."""


def read_released(migrations: Path) -> dict[str, dict[str, str]]:
    """The record of the folder `migrations`; empty while nothing is released."""
    path = migrations / RECORD
    try:
        return dict(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return {}
    except (orjson.JSONDecodeError, TypeError, ValueError):
        raise ConfigurationError(f"{path} is damaged; take it from the last release") from None


def checksums(revision: Revision) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in revision.files}


def freeze(migrations: Path, revisions: Sequence[Revision]) -> list[str]:
    """Record the revisions that are not recorded yet; the answer is their numbers.

    Raises `Conflict` when a recorded one has changed: a record is never written anew.
    """
    released = read_released(migrations)
    if faults := list(check_unchanged(revisions, released)):
        raise Conflict(f"{faults[0].target}: {faults[0].found}; {_REMEDY}")
    fresh = [each for each in revisions if each.number not in released]
    record = {**released, **{each.number: checksums(each) for each in fresh}}
    staging = migrations / f".{RECORD}.new"
    staging.write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")
    staging.replace(migrations / RECORD)
    return [each.number for each in fresh]


_REMEDY = "take the released file back and write a new revision instead"


@rule(
    "release-unchanged",
    holds="the files of a released revision are those of the release",
    remedy=_REMEDY,
    story="F1-E2-S1",
    waivable=False,
)
def check_unchanged(revisions: Sequence[Revision], released: Released) -> Iterator[Fault]:
    present = {each.number: checksums(each) for each in revisions}
    for number, files in released.items():
        found = present.get(number, {})
        for name in sorted({*files, *found}):
            if name not in found:
                yield Fault(name, f"the file of released revision {number} is removed", name)
            elif name not in files:
                yield Fault(name, f"the file is added to released revision {number}", name)
            elif files[name] != found[name]:
                yield Fault(name, f"the file of released revision {number} is changed", name)


@rule(
    "release-order",
    holds="a new revision comes after every released one",
    remedy="give it the number after the newest revision",
    story="F1-E2-S1",
    waivable=False,
)
def check_order(revisions: Sequence[Revision], released: Released) -> Iterator[Fault]:
    newest = max(released, default="")
    for each in revisions:
        if each.number not in released and each.number < newest:
            yield Fault(each.name, f"it stands before the released revision {newest}", each.path.name)
