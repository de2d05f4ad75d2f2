"""Exported contracts against those of the code: what differs, whom it breaks, and what was approved."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datalane.contracts.compatibility import Difference, Direction, compare
from datalane.contracts.consumers import Approval, Consumer, names_of
from datalane.contracts.exports import Contracts
from datalane.contracts.http_compatibility import compare_http


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference of one contract: `event:invoice.paid.v1`, `dto:Document` or `POST /documents/upload`."""

    contract: str
    direction: Direction
    difference: Difference
    consumers: tuple[str, ...] = ()
    approval: Approval | None = None

    @property
    def fingerprint(self) -> str:
        """Names exactly this difference: an approval of it says nothing about another."""
        return _fingerprint(self.contract, self.direction, self.difference)

    @property
    def breaks(self) -> bool:
        return self.difference.breaking and self.approval is None

    def as_dict(self) -> dict[str, Any]:
        each = self.difference
        return {
            "contract": self.contract,
            "direction": self.direction.value,
            "path": each.path,
            "kind": each.kind,
            "breaking": each.breaking,
            "before": each.before,
            "after": each.after,
            "consumers": list(self.consumers),
            "fingerprint": self.fingerprint,
            "approved": None if self.approval is None else self.approval.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Review:
    """`drift` are files that are not what the code would export; `added_versions` those of new event versions."""

    findings: tuple[Finding, ...]
    drift: tuple[str, ...]
    added_versions: tuple[str, ...]

    @property
    def breaks(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.breaks]

    @property
    def approved(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.difference.breaking and finding.approval]


def review_contracts(
    exported: Contracts,
    current: Contracts,
    consumers: Sequence[Consumer] = (),
    approvals: Sequence[Approval] = (),
    handlers: Mapping[str, Sequence[str]] | None = None,
) -> Review:
    """Compare the two. `handlers` are the kinds of jobs that the code starts on events, by type.

    A declared consumer of a contract that nobody knows is a mistake in `consumers.toml`: `InvalidInput`.
    """
    known = {approval.fingerprint: approval for approval in approvals}
    readers = _Readers(exported, current, consumers, handlers or {})
    differences = [*_of_events(exported, current), *_of_http(exported, current)]
    findings = [
        Finding(contract, direction, each, readers.of(contract), known.get(_fingerprint(contract, direction, each)))
        for contract, direction, each in differences
    ]
    paths = exported.files.keys() | current.files.keys()
    differing = [path for path in sorted(paths) if exported.files.get(path) != current.files.get(path)]
    added = {f"events/{name}.v{version}.json" for name, version in _added_versions(exported, current)}
    return Review(
        tuple(sorted(findings, key=lambda each: (not each.difference.breaking, each.contract, each.difference.path))),
        tuple(path for path in differing if path not in added),
        tuple(path for path in differing if path in added),
    )


def _fingerprint(contract: str, direction: Direction, difference: Difference) -> str:
    told = f"{contract}\n{direction.value}\n{difference.fingerprint}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def _added_versions(exported: Contracts, current: Contracts) -> list[tuple[str, int]]:
    """New versions of types that were exported before."""
    types = {name for name, _ in exported.events}
    return sorted(key for key in current.events.keys() - exported.events.keys() if key[0] in types)


def _of_events(exported: Contracts, current: Contracts) -> Iterator[tuple[str, Direction, Difference]]:
    for name, version in sorted(exported.events.keys() | current.events.keys()):
        contract = f"event:{name}.v{version}"
        old, new = exported.events.get((name, version)), current.events.get((name, version))
        if new is None:
            yield contract, Direction.EVENT, Difference("$", "version_removed", True)
        elif old is None:
            told = _since_last_version(current, name, version)
            yield contract, Direction.EVENT, Difference("$", "version_added", False, None, told)
        elif old != new:
            for each in compare(old, new, Direction.EVENT):
                yield contract, Direction.EVENT, each


def _since_last_version(current: Contracts, name: str, version: int) -> list[str] | None:
    """What a new version changes in the one before it."""
    before = max((each for known, each in current.events if known == name and each < version), default=None)
    if before is None:
        return None
    changes = compare(current.events[name, before], current.events[name, version], Direction.EVENT)
    return [f"{each.path} {each.describe()}" for each in changes]


def _of_http(exported: Contracts, current: Contracts) -> Iterator[tuple[str, Direction, Difference]]:
    if exported.openapi and exported.openapi != current.openapi:
        for each in compare_http(exported.openapi, current.openapi):
            yield each.contract, each.direction, each.difference


class _Readers:
    """Who reads a contract: handlers of the code, declared consumers, and for a body the operations that carry it."""

    def __init__(
        self,
        exported: Contracts,
        current: Contracts,
        consumers: Iterable[Consumer],
        handlers: Mapping[str, Sequence[str]],
    ) -> None:
        self._consumers = list(consumers)
        self._handlers = handlers
        self._uses = exported.uses
        known = {name for side in (exported, current) for name in names_of(side)}
        for consumer in self._consumers:
            consumer.check(known)

    def of(self, contract: str) -> tuple[str, ...]:
        names, found = [contract], list[str]()
        if contract.startswith("event:"):
            event_type = contract.removeprefix("event:").rpartition(".v")[0]
            names.append(f"event:{event_type}")
            found += [f"handler {kind}" for kind in self._handlers.get(event_type, ())]
        use = self._uses.get(contract.removeprefix("dto:")) if contract.startswith("dto:") else None
        if use is not None:
            names += sorted(use.operations)
            found += sorted(use.operations)
        found += [consumer.label for consumer in self._consumers if consumer.reads_any(names)]
        return tuple(dict.fromkeys(found))
