"""Rules on a revision as a whole: its header, its place in the chain, its files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from datalane.ops.guard.revisions import SECTIONS, Revision, script_name
from datalane.ops.guard.rules import Fault, rule

_STORY = re.compile(r"F[1-8]-E[1-3](-S[1-9])?")


@rule(
    "revision-header",
    holds="the docstring of every revision states Intent, Rollback, Consumers, Risk and Stories",
    remedy="write the section into the docstring, as `Risk: …`",
    story="F1-E2-S1",
)
def check_header(revisions: Sequence[Revision]) -> Iterator[Fault]:
    for each in revisions:
        for section in SECTIONS:
            if not each.header.get(section, "").strip(" ."):
                said = "an empty section" if section in each.header else "no section"
                yield Fault(each.name, f"{said} {section} in the header", each.path.name)


@rule(
    "revision-stories",
    holds="the stories of a revision are written as F1-E2-S1, or F1-E2 for a whole epic",
    remedy="name the stories as F1-E2-S1, separated by commas",
    story="F1-E2-S1",
)
def check_stories(revisions: Sequence[Revision]) -> Iterator[Fault]:
    for each in revisions:
        named = [word.strip(" .") for word in each.header.get("Stories", "").split(",")]
        for word in filter(None, named):
            if not _STORY.fullmatch(word):
                yield Fault(each.name, f"{word!r} is no story", each.path.name)


@rule(
    "revision-chain",
    holds="revisions are one line: each is numbered like its file and follows the one before",
    remedy="take the next free number and set down_revision to the one before it",
    story="F1-E2-S1",
)
def check_chain(revisions: Sequence[Revision]) -> Iterator[Fault]:
    before: str | None = None
    for each in revisions:
        stated, follows = each.constant("revision"), each.constant("down_revision")
        if stated != each.number:
            yield Fault(each.name, f"revision is {_shown(stated)}, the file says {each.number!r}", each.path.name)
        if each.number == before:
            yield Fault(each.name, f"the number {each.number} is taken twice", each.path.name)
        elif follows != before:
            said = f"down_revision is {_shown(follows)}, the revision before it is {before!r}"
            yield Fault(each.name, said, each.path.name)
        before = each.number


@rule(
    "revision-scripts",
    holds="every revision has an up script (or a release of verbs) and a down script with statements, and runs every "
    "script that lies beside it",
    remedy="write NNNN_name.up.sql and NNNN_name.down.sql, and run them with run_sql(__file__, …)",
    story="F1-E2-S1",
)
def check_scripts(revisions: Sequence[Revision]) -> Iterator[Fault]:
    for each in revisions:
        ran = {"upgrade": each.scripts("upgrade"), "downgrade": each.scripts("downgrade")}
        needs = {"upgrade": "verbs" if "verbs" in ran["upgrade"] else "up", "downgrade": "down"}
        for direction, needed in needs.items():
            if needed not in ran[direction]:
                yield Fault(each.name, f"{direction} does not run the script {needed}.sql", each.path.name)
        named = [*ran["upgrade"], *ran["downgrade"]]
        for name in dict.fromkeys([*named, *needs.values()]):
            path = each.path.with_suffix(f".{name}.sql")
            if not path.is_file():
                yield Fault(each.name, f"there is no {path.name}", each.path.name)
        for script in (*each.up, *each.down):
            if script.error is None and not script.statements:
                yield Fault(each.name, f"{script.path.name} has no statement", script.path.name)
        for path in each.path.parent.glob(f"{each.name}.*.sql"):
            if path.name.removeprefix(f"{each.name}.").removesuffix(".sql") not in named:
                yield Fault(each.name, f"{path.name} is never run", path.name)


@rule(
    "revision-plain-sql",
    holds="a revision only runs its scripts, so that its SQL can be read before it runs",
    remedy="move what it does into the SQL scripts; a backfill is a job per workspace, not a revision",
    story="F1-E2-S1",
)
def check_plain_sql(revisions: Sequence[Revision]) -> Iterator[Fault]:
    for each in revisions:
        for direction in ("upgrade", "downgrade"):
            for step in each.steps(direction):
                if script_name(step) is None:
                    place = f"{each.path.name}:{step.lineno}"
                    yield Fault(each.name, f"{direction} does something else than run_sql(__file__, …)", place)


def _shown(value: object) -> str:
    return "missing" if value is ... else repr(value)
