"""Exported contracts as they were at a git revision."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

from datalane.contracts.exports import Contracts, parse_contracts
from datalane.errors import InvalidInput


def read_revision(revision: str, folder: Path) -> Contracts:
    """`folder` at `revision` of the repository that it lies in. Raises `InvalidInput` when there is no such thing."""
    place = folder.resolve()
    if revision.startswith("-"):
        raise InvalidInput(f"{revision!r} is neither a folder nor a git revision")
    command = ["git", "-C", str(place.parent), "archive", "--format=tar", revision, "--", place.name]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError as error:
        raise InvalidInput(f"{revision} is no folder, and git is not installed to look for a revision") from error
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise InvalidInput(
            f"{revision} is neither a folder nor a git revision with {folder}: {said[-1] if said else ''}"
        )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = {
            member.name.removeprefix(f"{place.name}/"): data.read()
            for member in archive
            if member.name.endswith(".json") and (data := archive.extractfile(member)) is not None
        }
    return parse_contracts(files)
