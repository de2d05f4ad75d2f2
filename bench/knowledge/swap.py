"""A workspace moves to another model and back while queries go on: what fails, what is mixed, what it costs."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.knowledge.ground import Ground
from datalane.demo.ingest import working
from datalane.knowledge.methods import Method
from datalane.knowledge.models.schemas import ModelTarget
from datalane.knowledge.models.service import activate_model, list_models, register_model, retire_model
from datalane.knowledge.providers import version_of
from datalane.knowledge.retrieval.schemas import Query
from datalane.knowledge.retrieval.service import answer

FLIPS = 20
_ASKING = 2
_FOUND = 10
_PAUSE = 0.05


@dataclass
class Swap:
    """Queries while the models moved: `failed` ended with an error; `mixed` had results of two models, or others than
    the model that they name gives for the same text. Seconds of the queries before and meanwhile."""

    failed: int = 0
    mixed: int = 0
    before: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)
    answers: dict[tuple[str, str], Any] = field(default_factory=dict)

    @property
    def models(self) -> int:
        return len({model for model, _ in self.answers})

    @property
    def slower(self) -> float:
        """The 95th percentile meanwhile, over that before."""
        return statistics.quantiles(self.meanwhile, n=20)[-1] / statistics.quantiles(self.before, n=20)[-1]


async def swap_models(ground: Ground) -> Swap:
    """Fill the lane's second model, change over and back many times, and leave the first one for good."""
    swap, texts, done = Swap(), [query.text for query in ground.corpus.queries], asyncio.Event()
    usual, other = (version_of(provider) for provider in ground.knowledge.providers)
    for _ in range(_ASKING):
        for text in texts:
            await _ask(ground, swap, text, swap.before)
    asking = [asyncio.create_task(_ask_on(ground, swap, texts[n * 7 :], done)) for n in range(_ASKING)]
    async with working(ground.lane):
        await _change(ground, register_model, other)
        while not await _is_ready(ground, other):
            await asyncio.sleep(_PAUSE)
        for model in itertools.islice(itertools.cycle((other, usual)), FLIPS + 1):
            await _change(ground, activate_model, model)
            await asyncio.sleep(_PAUSE)
        async with ground.lane.transaction(ground.person.context()) as tx:
            await retire_model(tx, ModelTarget(model_version=usual))
    done.set()
    await asyncio.gather(*asking)
    return swap


async def _ask_on(ground: Ground, swap: Swap, texts: Sequence[str], done: asyncio.Event) -> None:
    for text in itertools.cycle(texts):
        if done.is_set():
            return
        await _ask(ground, swap, text, swap.meanwhile)


async def _ask(ground: Ground, swap: Swap, text: str, seconds: list[float]) -> None:
    asked = Query(query=text, method=Method.SEMANTIC, limit=_FOUND)
    began = time.perf_counter()
    try:
        told = await answer(ground.lane.transaction, ground.person.context(), ground.knowledge.providers, asked)
    except Exception as error:
        swap.failed += 1
        print(f"  failed: {error!r}")
        return
    seconds.append(time.perf_counter() - began)
    models = {result.embedding_model_version for result in told.data}
    found = [(result.chunk_id, result.retrieval_score) for result in told.data]
    if len(models) != 1 or len(found) != _FOUND or swap.answers.setdefault((models.pop(), text), found) != found:
        swap.mixed += 1


async def _change(ground: Ground, how: Any, model: str) -> None:
    async with ground.lane.transaction(ground.person.context()) as tx:
        await how(tx, ground.knowledge.providers, ModelTarget(model_version=model))


async def _is_ready(ground: Ground, model: str) -> bool:
    async with ground.lane.transaction(ground.person.context()) as tx:
        listed = await list_models(tx, ground.knowledge.providers)
    return any(one.model_version == model and one.status == "ready" for one in listed.data)
