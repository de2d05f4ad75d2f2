"""What people write beside the exports: who reads which contract, and which breaks were approved.

`consumers.toml` names consumers that code cannot know:

    [[consumer]]
    name = "warehouse"
    owner = "data team"
    reads = ["event:document.*", "dto:Answer", "GET /documents/list"]

`approved.toml` is written by `datalane contracts approve`. An approval names one difference by its fingerprint.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import orjson

from datalane.contracts.exports import Contracts
from datalane.contracts.http_compatibility import operations
from datalane.errors import InvalidInput

CONSUMERS, APPROVED = "consumers.toml", "approved.toml"
_HEAD = "# Breaks of contracts that somebody answers for. Written by `datalane contracts approve`.\n"


@dataclass(frozen=True, slots=True)
class Consumer:
    """`reads` are names of contracts, `*` stands for anything."""

    name: str
    reads: tuple[str, ...]
    owner: str = ""

    @property
    def label(self) -> str:
        return f"{self.name} ({self.owner})" if self.owner else self.name

    def reads_any(self, names: Iterable[str]) -> bool:
        return any(fnmatchcase(name, pattern) for name in names for pattern in self.reads)

    def check(self, known: Iterable[str]) -> None:
        """Raises `InvalidInput` when it reads what nothing is called."""
        names = list(known)
        for pattern in self.reads:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise InvalidInput(
                    f"{CONSUMERS}: {self.name} reads {pattern}, and no contract is called that; "
                    "correct the name, or remove it"
                )


@dataclass(frozen=True, slots=True)
class Approval:
    """One approved break. `fingerprint` names the difference, the rest is for people."""

    contract: str
    path: str
    kind: str
    fingerprint: str
    reason: str
    owner: str
    date: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def names_of(contracts: Contracts) -> set[str]:
    """Every name under which a contract can be read."""
    names = {f"dto:{name}" for name in contracts.openapi.get("components", {}).get("schemas", {})}
    for event_type, version in contracts.events:
        names |= {f"event:{event_type}", f"event:{event_type}.v{version}"}
    return names | set(operations(contracts.openapi))


def read_consumers(folder: Path) -> list[Consumer]:
    """Raises `InvalidInput` for a file that is not what the module says."""
    found = []
    for entry in _entries(folder / CONSUMERS, "consumer"):
        reads, name = entry.get("reads"), entry.get("name")
        if not isinstance(name, str) or not isinstance(reads, list) or not all(isinstance(one, str) for one in reads):
            raise InvalidInput(f"{CONSUMERS}: a consumer has a name and a list of what it reads")
        found.append(Consumer(name, tuple(reads), str(entry.get("owner", ""))))
    return found


def read_approvals(folder: Path) -> list[Approval]:
    """Raises `InvalidInput` for an approval that lacks something; one without reason or owner approves nothing."""
    found = []
    for entry in _entries(folder / APPROVED, "approved"):
        missing = [name for name in Approval.__slots__ if not str(entry.get(name, "")).strip()]
        if missing:
            raise InvalidInput(f"{APPROVED}: an approval without {' and '.join(missing)} approves nothing")
        found.append(Approval(**{name: str(entry[name]) for name in Approval.__slots__}))
    return found


def add_approvals(folder: Path, approvals: Iterable[Approval]) -> None:
    """Append to `approved.toml`, making it when it is missing."""
    path = folder / APPROVED
    text = path.read_text() if path.is_file() else _HEAD
    for approval in approvals:
        lines = [f"{name} = {_quoted(value)}" for name, value in approval.as_dict().items()]
        text += "\n".join(["", "[[approved]]", *lines, ""])
    path.write_text(text)


def checked_approval(name: str, value: str | None) -> str:
    """Raises `InvalidInput` when the reason or the owner of an approval says nothing."""
    if value is None or not value.strip():
        raise InvalidInput(f"an approval needs --{name}: somebody answers for it, and says why")
    return value.strip()


def today() -> str:
    return date.today().isoformat()  # noqa: DTZ011 - the day of whoever approves


def _entries(path: Path, name: str) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        entries = tomllib.loads(path.read_text()).get(name, [])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path.name} is not TOML: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidInput(f"{path.name}: write entries as [[{name}]]")
    return entries


def _quoted(value: str) -> str:
    """A basic string of TOML, whose escapes are those of JSON but for DEL."""
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
