"""An embedding endpoint that answers well, and in every other way. The other side is a real process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from tests.integration.knowledge.embedding_server import vector_of
from tests.integration.knowledge.endpoints import DIMENSIONS, RunningEndpoint, running_endpoint

from datalane.errors import RateLimited
from datalane.kit.ids import uuid7
from datalane.knowledge.endpoint import Endpoint
from datalane.knowledge.providers import EmbeddingFailed
from datalane.settings import EmbeddingEndpoint, Rate

HERE, THERE = uuid7(), uuid7()
TEXTS = ["an owl at night", "a harbour in fog", "night owl"]


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running() -> Iterator[RunningEndpoint]:
    with running_endpoint() as endpoint:
        yield endpoint


@pytest.fixture
async def make(running: RunningEndpoint) -> AsyncIterator[Any]:
    made: list[Endpoint] = []

    def one(clock: Clock | None = None, **said: Any) -> Endpoint:
        running.behave(times=0)
        made.append(Endpoint(running.settings(**said), clock or Clock()))
        return made[-1]

    yield one
    for endpoint in made:
        await endpoint.aclose()


async def test_vectors_come_in_the_order_of_the_texts_and_have_length_one(make: Any, running: RunningEndpoint) -> None:
    endpoint = make(batch=2)
    running.behave(times=9, reversed=True)
    vectors = await endpoint.embed(HERE, TEXTS)
    expected = np.array([vector_of(text, DIMENSIONS) for text in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, expected, atol=1e-6)


async def test_one_request_has_no_more_texts_and_characters_than_the_settings_say(
    make: Any, running: RunningEndpoint
) -> None:
    for said, sizes in [({"batch": 2}, [2, 1]), ({"batch_characters": 20}, [1, 1, 1]), ({}, [3])]:
        before = len(running.seen())
        await make(**said).embed(HERE, TEXTS)
        assert [request["texts"] for request in running.seen()[before:]] == sizes


async def test_the_key_and_the_dimensions_are_sent_as_the_settings_say(make: Any, running: RunningEndpoint) -> None:
    await make().embed(HERE, TEXTS)
    await make(api_key="geheim", send_dimensions=True).embed(HERE, TEXTS)
    plain, keyed = running.seen()[-2:]
    assert (plain["authorization"], plain["dimensions"]) == (None, None)
    assert (keyed["authorization"], keyed["dimensions"]) == ("Bearer geheim", DIMENSIONS)


@pytest.mark.parametrize(
    ("how", "says", "retryable"),
    [
        ({"dimensions": 7}, "7 dimensions, not 8", False),
        ({"first": ["nan"]}, "not finite", False),
        ({"first": [0.0]}, "no direction", False),
        ({"first": [1e308]}, "not finite", False),
        ({"first": ["x"]}, "not rows of numbers", False),
        ({"first": [1.0, 2.0]}, "not rows of numbers of one length", False),
        ({"first": []}, "not rows of numbers of one length", False),
        ({"rows": 2}, "2 vectors for 3 texts", True),
        ({"rows": 0}, "0 vectors for 3 texts", True),
        ({"repeated": 2}, "6 vectors for 3 texts", True),
        ({"raw": ""}, "not that of the protocol", True),
        ({"raw": "[1]"}, "not that of the protocol", True),
        ({"raw": '{"data": null}'}, "not that of the protocol", True),
        ({"raw": "[", "repeat": 60_000}, "not that of the protocol", True),
        ({"raw": " ", "repeat": 10_000_000}, "does not answer", True),
        ({"status": 500}, "answered 500", True),
        ({"status": 408}, "answered 408", True),
        ({"status": 401}, "answered 401", False),
        ({"status": 400}, 'answered 400: {"error": "not now"}', False),
        ({"status": 302}, "answered 302", False),
    ],
)
async def test_an_answer_that_is_no_use_says_why_and_whether_to_try_again(
    make: Any, running: RunningEndpoint, how: dict[str, Any], says: str, retryable: bool
) -> None:
    endpoint = make()
    running.behave(**how)
    with pytest.raises(EmbeddingFailed, match="the embedding endpoint near") as caught:
        await endpoint.embed(HERE, TEXTS)
    assert says in str(caught.value)
    assert caught.value.retryable is retryable
    assert len(await endpoint.embed(HERE, TEXTS)) == len(TEXTS), "the next answer is good again"


async def test_an_endpoint_that_is_away_may_come_back() -> None:
    with running_endpoint() as gone:
        settings = gone.settings(timeout=timedelta(seconds=5))
    endpoint = Endpoint(settings)
    with pytest.raises(EmbeddingFailed, match="does not answer") as caught:
        await endpoint.embed(HERE, TEXTS)
    assert caught.value.retryable
    await endpoint.aclose()


async def test_being_told_to_wait_holds_back_the_workspace_that_asked_and_no_other(
    make: Any, running: RunningEndpoint
) -> None:
    clock = Clock()
    endpoint = make(clock)
    running.behave(status=429, retry_after=30)
    with pytest.raises(RateLimited) as told:
        await endpoint.embed(HERE, TEXTS)
    assert told.value.retry_after == 30
    asked = len(running.seen())
    assert len(await endpoint.embed(THERE, TEXTS)) == len(TEXTS)
    clock.now += 29
    with pytest.raises(RateLimited) as early:
        await endpoint.embed(HERE, TEXTS)
    assert early.value.retry_after == pytest.approx(1)
    assert len(running.seen()) == asked + 1, "who has to wait asks nobody"
    clock.now += 1
    assert len(await endpoint.embed(HERE, TEXTS)) == len(TEXTS)


async def test_without_a_time_to_wait_each_refusal_doubles_it_until_an_answer(
    make: Any, running: RunningEndpoint
) -> None:
    clock = Clock()
    endpoint = make(clock)
    running.behave(times=3, status=429)
    waits = []
    for _ in range(3):
        with pytest.raises(RateLimited) as told:
            await endpoint.embed(HERE, TEXTS)
        waits.append(told.value.retry_after)
        clock.now += told.value.retry_after
    assert waits == [1, 2, 4]
    await endpoint.embed(HERE, TEXTS)
    running.behave(status=429, retry_after="soon")
    with pytest.raises(RateLimited) as told:
        await endpoint.embed(HERE, TEXTS)
    assert told.value.retry_after == 1


async def test_a_rate_of_the_settings_is_each_workspace_s_own(make: Any) -> None:
    clock = Clock()
    endpoint = make(clock, rate=Rate(2, timedelta(seconds=10)), batch=1)
    await endpoint.embed(HERE, TEXTS[:2])
    with pytest.raises(RateLimited) as early:
        await endpoint.embed(HERE, TEXTS[:1])
    assert early.value.retry_after == pytest.approx(10)
    await endpoint.embed(THERE, TEXTS[:1])
    clock.now += 10
    await endpoint.embed(HERE, TEXTS[:1])


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"url": "ftp://near"}, "https://"),
        ({"url": "http://far.example/v1", "api_key": "geheim"}, "where an api_key is sent"),
        ({"dimensions": 2_001}, "2000"),
        ({"name": "Near One"}, "pattern"),
        ({"rate": "often"}, "such as 10/60"),
    ],
)
def test_an_endpoint_that_cannot_be_is_refused(said: dict[str, Any], says: str) -> None:
    whole: dict[str, Any] = {
        "name": "near",
        "url": "https://near.example/v1",
        "model": "bags",
        "dimensions": DIMENSIONS,
    } | said
    with pytest.raises(ValueError, match=says):
        EmbeddingEndpoint(**whole)
