"""`datalane agents evaluate`: the lane's own assistant answers the cases of a file, and what that is worth is kept."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from datalane.agents.assistant.service import question_of
from datalane.agents.evaluations import Citations, Exact, Grader, Plan, Retrieval, Schema, evaluate
from datalane.agents.evaluations.comparing import compare_evaluations
from datalane.agents.evaluations.datasets import add_dataset
from datalane.agents.evaluations.schemas import (
    MOST_CASES,
    AddedDataset,
    AgentEvaluation,
    AgentEvaluationComparison,
    CaseResult,
    DatasetCase,
    NewDataset,
)
from datalane.agents.evaluations.service import get_evaluation, last_evaluation
from datalane.agents.runs.queueing import ASSISTANT
from datalane.agents.versions.output_schemas import get_output_schema
from datalane.cli.lanes import open_lane
from datalane.contracts.context import Context
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput
from datalane.identity.workspaces import get_workspace
from datalane.kit.strict_json import parse_json
from datalane.knowledge.moderation.service import standing_citations
from datalane.lane import Lane
from datalane.settings import Settings

if TYPE_CHECKING:
    from datalane.agents.recorder import RecordedRun

GRADERS = ("citations", "exact", "retrieval", "schema")
_THRESHOLD = re.compile(r"(.{1,64})=(0(?:\.\d+)?|1(?:\.0+)?)")
_ANSWER = "text"
"""The member of the assistant's output that is compared with what a case expects."""

_SHOWN_REASONS = 5

Step = Callable[[str], AbstractContextManager[Any]]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is evaluated. `graders` None are all for which every case says what is wanted; `against` None compares with
    the newest evaluation of the same dataset and agent before."""

    workspace_id: UUID
    cases: Sequence[DatasetCase]
    name: str
    graders: Sequence[str] | None
    thresholds: Mapping[str, float]
    coverage: float
    at_once: int
    against: UUID | None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """`not_graded` are the commonest reasons with their cases. `uncompared` says why there is no comparison where there
    is an evaluation to compare with."""

    dataset: AddedDataset
    evaluation: AgentEvaluation
    not_graded: Sequence[tuple[str, int]]
    comparison: AgentEvaluationComparison | None = None
    uncompared: str | None = None

    def as_dict(self) -> dict[str, Any]:
        told = None if self.comparison is None else self.comparison.model_dump(mode="json")
        return {
            "dataset": self.dataset.model_dump(mode="json"),
            "evaluation": self.evaluation.model_dump(mode="json"),
            "not_graded": [{"reason": reason, "cases": cases} for reason, cases in self.not_graded],
            "comparison": told,
            "uncompared": self.uncompared,
        }

    def faults(self, thresholds: Mapping[str, float], fail_if_worse: bool) -> list[str]:
        """Why the command fails: a score that is refused, below its threshold, worse than before, or cannot be compared
        with what there is."""
        scores, faults = self.evaluation.scores or {}, []
        if self.evaluation.refusal is not None:
            faults.append(self.evaluation.refusal)
        faults += [
            f"{name} is {scores[name].value:.4f}, below {least}"
            for name, least in thresholds.items()
            if name in scores and scores[name].value < least
        ]
        if fail_if_worse and self.uncompared is not None:
            faults.append(f"not compared: {self.uncompared}")
        if fail_if_worse and self.comparison is not None:
            faults += [
                f"{name} is worse than in evaluation {self.comparison.baseline_id}"
                for name, change in self.comparison.scores.items()
                if change.verdict == "worse"
            ]
        return faults


def read_cases(path: Path) -> list[DatasetCase]:
    """Raises `InvalidInput` naming the file and the line."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from None
    cases, seen = list[DatasetCase](), dict[str, int]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            case = DatasetCase.model_validate(parse_json(line, name="the line"))
            question_of(case.input)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the line"
            raise InvalidInput(f"{where}: {place}: {first['msg']}") from None
        except Exception as error:
            raise InvalidInput(f"{where}: {error}") from None
        if case.case_id in seen:
            raise InvalidInput(f"{where}: the case {case.case_id!r} stands in line {seen[case.case_id]} already")
        seen[case.case_id] = number
        cases.append(case)
    if not 1 <= len(cases) <= MOST_CASES:
        raise InvalidInput(f"{path} has {len(cases):,} cases; a dataset has 1 to {MOST_CASES:,}")
    return cases


def read_threshold(text: str) -> tuple[str, float]:
    """The name of a score and the least mean of it. Raises `InvalidInput`."""
    read = _THRESHOLD.fullmatch(text)
    if read is None:
        raise InvalidInput(f"--at-least {text} is not of the form citations=0.95")
    return read[1], float(read[2])


def checked_graders(said: Sequence[str]) -> Sequence[str]:
    """Raises `InvalidInput` for one that there is not."""
    wrong = sorted(set(said) - set(GRADERS))
    if wrong:
        raise InvalidInput(f"--grader {wrong[0]} is none of {', '.join(GRADERS)}")
    return said


def dataset_name(path: Path) -> str:
    """That of the file, without what no name has."""
    name = "".join(each for each in path.stem if each.isprintable()).strip()
    return name[:200] or "dataset"


async def evaluate_assistant(settings: Settings, database_url: str, asked: Asked, step: Step) -> Evaluated:
    """Raises as `evaluate`, `NotFound` for a workspace or a baseline that is not there, and `InvalidInput` for one of
    another dataset."""
    lane, context = Lane(), Context.system(asked.workspace_id)
    async with open_lane(lane, settings, database_url, asyncio.Event()) as runtime:
        assistant = runtime.agents.assistant
        async with lane.transaction(context) as tx:
            await get_workspace(tx)
            dataset = await add_dataset(tx, NewDataset(name=asked.name, cases=list(asked.cases)))
            before = await _find_baseline(tx, asked, dataset)
        versions = await assistant.register_versions(lane.transaction, context)
        async with lane.transaction(context) as tx:
            schema = Schema(await get_output_schema(tx, versions["output_schema_version_id"]))
        plan = Plan(
            dataset_version_id=dataset.dataset_version_id,
            agent=ASSISTANT,
            graders=_graders(asked, schema),
            coverage_threshold=asked.coverage,
            thresholds=asked.thresholds,
            **versions,
        )

        async def answer(run: RecordedRun, case: DatasetCase) -> None:
            await assistant.answer(run, question_of(case.input), versions["model_version_id"])

        with step(f"{len(asked.cases)} cases of {asked.name}") as progress:
            evaluation = await evaluate(lane.agents, context, plan, answer, at_once=asked.at_once, progress=progress)
        return await _compare(lane, context, dataset, evaluation, before)


async def _find_baseline(tx: Transaction, asked: Asked, dataset: AddedDataset) -> UUID | None:
    """Before anything is run."""
    if asked.against is None:
        return await last_evaluation(tx, dataset.dataset_version_id, ASSISTANT)
    baseline = (await get_evaluation(tx, asked.against)).evaluation
    if baseline.dataset_version_id != dataset.dataset_version_id:
        told = f"{baseline.dataset} version {baseline.dataset_version}"
        raise InvalidInput(f"evaluation {asked.against} is of another dataset, {told}")
    if baseline.refusal is not None:
        raise InvalidInput(f"evaluation {asked.against} has no scores to compare with: {baseline.refusal}")
    return asked.against


async def _compare(
    lane: Lane, context: Context, dataset: AddedDataset, evaluation: AgentEvaluation, before: UUID | None
) -> Evaluated:
    async with lane.transaction(context) as tx:
        read = await get_evaluation(tx, evaluation.evaluation_id, page_size=MOST_CASES)
    told = Evaluated(dataset, evaluation, _reasons(read.data))
    if before is None or evaluation.refusal is not None:
        return told
    try:
        async with lane.transaction(context) as tx:
            return replace(told, comparison=await compare_evaluations(tx, evaluation.evaluation_id, before))
    except InvalidInput as error:
        return replace(told, uncompared=str(error))


def _reasons(results: Sequence[CaseResult]) -> list[tuple[str, int]]:
    said = (
        f"{result.outcome}{f' ({result.error_class})' if result.error_class else ''}: {result.reason}"
        for result in results
        if result.outcome != "graded"
    )
    return Counter(said).most_common(_SHOWN_REASONS)


def _graders(asked: Asked, schema: Schema) -> list[Grader]:
    said = asked.graders
    if said is None:
        said = ["citations"]
        said += ["exact"] if all(case.expected is not None for case in asked.cases) else []
        said += ["retrieval"] if all(case.relevant for case in asked.cases) else []
    known: dict[str, Grader] = {
        "citations": Citations(standing_citations),
        "exact": Exact(_ANSWER),
        "retrieval": Retrieval(),
        "schema": schema,
    }
    return [known[name] for name in GRADERS if name in said]
