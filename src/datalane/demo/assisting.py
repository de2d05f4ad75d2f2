"""The built-in agent asked by the corpus's questions: are its sentences cited, its outputs in shape, its costs whole?

The figures are read by SQL through the tenant door, from the ledger and from what was counted beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from datalane.agents.assistant.schemas import Question
from datalane.agents.assistant.service import Assistant
from datalane.agents.tools.built_in import publish_built_in
from datalane.agents.versions.prices import create_price
from datalane.agents.versions.schemas import NewModelPrice
from datalane.demo.corpus import Corpus
from datalane.demo.ingest import queries
from datalane.demo.people import Person
from datalane.lane import Lane

MOST_QUESTIONS = 200
LEAST_PRESENCE, LEAST_CONFORMANCE = 0.95, 0.99


@dataclass(frozen=True, slots=True)
class Assisted:
    """`answered` questions have a sentence at least. The costs are of the runs, of their steps, and as counted."""

    questions: int
    answered: int
    sentences: int
    cited: int
    conforming: int
    cost_of_runs: Decimal
    cost_of_steps: Decimal
    cost_counted: Decimal

    @property
    def presence(self) -> float:
        """Share of the sentences that have a citation."""
        return self.cited / self.sentences if self.sentences else 1.0

    @property
    def conformance(self) -> float:
        """Share of the outputs that are as their schema says."""
        return self.conforming / self.questions if self.questions else 1.0

    @property
    def reconciles(self) -> bool:
        return self.cost_of_runs == self.cost_of_steps == self.cost_counted

    @property
    def holds(self) -> bool:
        return self.presence >= LEAST_PRESENCE and self.conformance >= LEAST_CONFORMANCE and self.reconciles


async def ask_the_assistant(lane: Lane, assistant: Assistant, person: Person, corpus: Corpus) -> Assisted:
    """Ask at most 200 of the questions; a million of the words that it reads cost a dollar, and those that it says
    four."""
    async with lane.transaction(person.context()) as tx:
        await publish_built_in(tx, assistant.tools)
        model = await assistant.register_model(tx)
        price = NewModelPrice(
            model_version_id=model, currency="USD", input_per_million=Decimal(1), output_per_million=Decimal(4)
        )
        await create_price(tx, price)
    answers = [
        await assistant.ask(lane.transaction, person.context(), Question(question=query.text[:8_000]))
        for query in islice(corpus.queries, MOST_QUESTIONS)
    ]
    async with lane.transaction(person.context()) as tx:
        told = await queries.read_assisted(tx.connection, workspace_id=person.workspace_id)
    sentences = [sentence for answer in answers for sentence in answer.sentences]
    return Assisted(
        questions=len(answers),
        answered=sum(bool(answer.sentences) for answer in answers),
        sentences=len(sentences),
        cited=sum(bool(sentence.citations) for sentence in sentences),
        conforming=told["conforming"],
        cost_of_runs=told["cost_of_runs"],
        cost_of_steps=told["cost_of_steps"],
        cost_counted=told["cost_counted"],
    )
