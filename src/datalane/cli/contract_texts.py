"""What `datalane contracts` tells people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from datalane.contracts.review import Finding, Review

if TYPE_CHECKING:
    from datalane.cli.stored_events import StoredReport

EXPORT = "run `datalane contracts export` and commit the folder"
_SHOWN_FAULTS = 20
_SECTIONS = ("Added", "Changed", "Deprecated", "Removed")


def describe_check(ok: bool, review: Review, report: StoredReport | None) -> str:
    parts = []
    if review.breaks:
        parts.append(describe_breaks(review.breaks))
    for each in review.approved:
        approval = each.approval
        if approval is not None:
            parts.append(f"approved by {approval.owner} on {approval.date}: {_place(each)} ({approval.reason})")
    if review.drift:
        parts.append(f"the exports are not those of the code; {EXPORT}: {', '.join(review.drift)}")
    if review.added_versions:
        parts.append(f"new versions, not exported yet ({EXPORT}): {', '.join(review.added_versions)}")
    if report is not None:
        parts.append(_describe_stored(report))
    if ok:
        parts.append("the contracts hold")
    return "\n".join(parts)


def describe_breaks(breaks: Sequence[Finding]) -> str:
    lines = []
    for each in breaks:
        readers = ", ".join(each.consumers) or "nobody declared"
        lines += [f"BREAKS {_place(each)}", f"       consumers: {readers}", f"       fingerprint: {each.fingerprint}"]
    count = f"{len(breaks)} breaking change{'' if len(breaks) == 1 else 's'}"
    mend = (
        "keep the old form beside the new one (for an event: a new version), or "
        '`datalane contracts approve FINGERPRINT --reason "…" --owner "…"`'
    )
    return "\n".join([*lines, f"{count}: {mend}"])


def _place(finding: Finding) -> str:
    each = finding.difference
    return f"{finding.contract} ({finding.direction.value}) {each.path}: {each.describe()}"


def _describe_stored(report: StoredReport) -> str:
    looked = f"{report.events:,} stored events of {report.workspaces:,} workspaces"
    if not report.faults:
        return f"{looked} match their schemas"
    lines = [
        f"STORED {each.event_type} version {each.version}, event {each.event_id} of workspace {each.workspace_id}: "
        f"{each.field} ({each.keyword})"
        for each in report.faults[:_SHOWN_FAULTS]
    ]
    hidden = len(report.faults) - len(lines)
    if hidden:
        lines.append(f"       and {hidden:,} more; --json lists all")
    count = f"{len(report.faults):,} of {looked} do not match the schema that the code registers"
    return "\n".join([*lines, f"{count}; register the change as a new version"])


def handoff(review: Review) -> str:
    """A Markdown document: each contract that differs, with what was added, changed, deprecated and removed."""
    lines = ["# Contract changes", ""]
    if not review.findings:
        only = "Descriptions and the like differ; no field does." if review.drift else "Nothing differs."
        return "\n".join([*lines, only, ""])
    breaking = sum(each.difference.breaking for each in review.findings)
    lines += [f"{len(review.findings)} differences, {breaking} of them breaking.", ""]
    for contract, found in groupby(sorted(review.findings, key=lambda each: each.contract), lambda each: each.contract):
        findings = list(found)
        readers = sorted({reader for each in findings for reader in each.consumers})
        lines += [f"## {contract}", "", f"Consumers: {', '.join(readers) or 'none declared'}", ""]
        for section in _SECTIONS:
            inside = [each for each in findings if _section(each) == section]
            if inside:
                lines += [f"### {section}", "", *(_item(each) for each in inside), ""]
    return "\n".join(lines)


def _section(finding: Finding) -> str:
    kind = finding.difference.kind
    if kind.endswith("_added"):
        return "Added"
    if kind == "deprecated":
        return "Deprecated"
    return "Removed" if kind.endswith("_removed") else "Changed"


def _item(finding: Finding) -> str:
    each = finding.difference
    text = f"- `{each.path}` ({finding.direction.value}): {each.describe()}"
    if each.breaking:
        text += f" — **breaking**, `{finding.fingerprint}`"
    if finding.approval is not None:
        text += f", approved by {finding.approval.owner} on {finding.approval.date}: {finding.approval.reason}"
    return text
