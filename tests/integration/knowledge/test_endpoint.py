"""An embedding endpoint that answers well, and in every other way. The other side is a real process."""

from __future__ import annotations

import asyncio
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
from datalane.knowledge.providers import EmbeddingFailed, EmbeddingRefused
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
    ("how", "says"),
    [
        ({"dimensions": 7}, "7 dimensions, not 8"),
        ({"first": ["nan"]}, "not finite"),
        ({"first": [0.0]}, "no direction"),
        ({"first": [1e308]}, "not finite"),
        ({"first": [10**400]}, "not rows of numbers"),
        ({"first": ["x"]}, "not rows of numbers"),
        ({"first": [1.0, 2.0]}, "not rows of numbers of one length"),
        ({"first": []}, "not rows of numbers of one length"),
        ({"status": 400}, 'answered 400: {"error": "not now"}'),
        ({"status": 413}, "answered 413"),
    ],
)
async def test_an_answer_that_will_not_get_better_ends_the_work(
    make: Any, running: RunningEndpoint, how: dict[str, Any], says: str
) -> None:
    endpoint = make()
    running.behave(**how)
    with pytest.raises(EmbeddingRefused, match="the embedding endpoint near") as caught:
        await endpoint.embed(HERE, TEXTS)
    assert says in str(caught.value)
    assert len(await endpoint.embed(HERE, TEXTS)) == len(TEXTS), "the next answer is good again"


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"rows": 2}, "2 vectors for 3 texts"),
        ({"rows": 0}, "0 vectors for 3 texts"),
        ({"repeated": 2}, "6 vectors for 3 texts"),
        ({"raw": ""}, "not that of the protocol"),
        ({"raw": "[1]"}, "not that of the protocol"),
        ({"raw": '{"data": null}'}, "not that of the protocol"),
        ({"raw": "[", "repeat": 60_000}, "not that of the protocol"),
        ({"raw": " ", "repeat": 10_000_000}, "does not answer"),
        ({"headers": {"Content-Encoding": "gzip, gzip"}}, "does not answer"),
        ({"status": 500}, "answered 500"),
        ({"status": 408}, "answered 408"),
        ({"status": 401}, "answered 401"),
        ({"status": 302}, "answered 302"),
    ],
)
async def test_an_answer_that_may_get_better_is_asked_for_again_later(
    make: Any, running: RunningEndpoint, how: dict[str, Any], says: str
) -> None:
    endpoint = make()
    running.behave(**how)
    with pytest.raises(EmbeddingFailed, match="the embedding endpoint near") as caught:
        await endpoint.embed(HERE, TEXTS)
    assert says in str(caught.value)
    assert caught.value.retry_after == 30
    assert len(await endpoint.embed(HERE, TEXTS)) == len(TEXTS), "the next answer is good again"


async def test_the_key_is_in_no_message_also_when_the_endpoint_repeats_it(make: Any, running: RunningEndpoint) -> None:
    endpoint = make(api_key="sk-geheim-12345")
    running.behave(status=401, echo=True)
    with pytest.raises(EmbeddingFailed) as caught:
        await endpoint.embed(HERE, TEXTS)
    assert "Authorization: Bearer ***" in str(caught.value)
    assert "geheim" not in str(caught.value)


async def test_cookies_of_an_endpoint_are_not_kept(make: Any, running: RunningEndpoint) -> None:
    endpoint = make()
    running.behave(times=3, headers={"Set-Cookie": f"a={'x' * 3_000}"})
    for _ in range(3):
        await endpoint.embed(HERE, TEXTS)
    assert [request["cookie"] for request in running.seen()[-3:]] == [None] * 3


async def test_a_long_text_is_cut_before_it_is_sent(make: Any, running: RunningEndpoint) -> None:
    whole, cut = await make().embed(HERE, ["night owl"]), await make(text_characters=5).embed(HERE, ["night owl"])
    assert not np.allclose(whole, cut)
    assert np.allclose(cut, await make().embed(HERE, ["night"]))


async def test_an_endpoint_that_is_away_may_come_back() -> None:
    with running_endpoint() as gone:
        settings = gone.settings(timeout=timedelta(seconds=5))
    endpoint = Endpoint(settings)
    with pytest.raises(EmbeddingFailed, match="does not answer"):
        await endpoint.embed(HERE, TEXTS)
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
    for said in ("soon", "-5", "0", "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 99999999 07:28:00 GMT", "9" * 400):
        running.behave(status=429, retry_after=said)
        with pytest.raises(RateLimited) as told:
            await endpoint.embed(HERE, TEXTS)
        assert 1 <= told.value.retry_after <= 3_600
        clock.now += told.value.retry_after
        await endpoint.embed(HERE, TEXTS)


async def test_who_is_told_to_wait_between_two_requests_does_not_begin_anew(
    make: Any, running: RunningEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    endpoint = make(batch=1)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    before = len(running.seen())
    running.behave(times=2, after=1, status=429, retry_after=9)
    assert len(await endpoint.embed(HERE, TEXTS)) == len(TEXTS)
    assert (slept, len(running.seen()) - before) == ([9, 9], 5)


async def test_what_was_done_when_a_call_had_to_end_is_not_asked_again(make: Any, running: RunningEndpoint) -> None:
    clock = Clock()
    endpoint = make(clock, batch=1)
    whole = await make().embed(HERE, TEXTS)
    for allowed in (1, 1, 0):
        before = len(running.seen())
        running.behave(times=1, after=allowed, status=429, retry_after=60)
        with pytest.raises(RateLimited):
            await endpoint.embed(HERE, TEXTS)
        assert len(running.seen()) - before == allowed + 1
        clock.now += 60
    before = len(running.seen())
    assert np.array_equal(await endpoint.embed(HERE, TEXTS), whole)
    assert len(running.seen()) - before == 1, "two of three were there"
    before = len(running.seen())
    await endpoint.embed(HERE, TEXTS)
    assert len(running.seen()) - before == 3, "what was used is not kept"


async def test_calls_at_once_that_share_texts_do_not_take_them_from_each_other(
    make: Any, running: RunningEndpoint
) -> None:
    endpoint = make(batch=1)
    expected = await make().embed(HERE, TEXTS)
    running.behave(times=1, after=1, status=429, retry_after=60)
    with pytest.raises(RateLimited):
        await endpoint.embed(THERE, TEXTS)
    orders = [[0, 1, 2], [2, 1, 0], [1, 0, 2, 1], [0], []]
    found = await asyncio.gather(*(endpoint.embed(HERE, [TEXTS[place] for place in order]) for order in orders))
    for order, vectors in zip(orders, found, strict=True):
        assert vectors.shape == (len(order), DIMENSIONS)
        assert np.array_equal(vectors, expected[order])


async def test_a_text_that_stands_twice_in_a_call_is_asked_once(make: Any, running: RunningEndpoint) -> None:
    vectors = await make().embed(HERE, [TEXTS[0], TEXTS[1], TEXTS[0]])
    assert running.seen()[-1]["texts"] == 2
    assert np.array_equal(vectors[0], vectors[2])


async def test_a_call_that_needs_more_requests_than_the_rate_has_is_made_and_paid_for_afterwards(make: Any) -> None:
    clock = Clock()
    endpoint = make(clock, rate=Rate(2, timedelta(seconds=10)), batch=1)
    await endpoint.embed(HERE, TEXTS)
    with pytest.raises(RateLimited) as early:
        endpoint.check(HERE)
    assert early.value.retry_after == pytest.approx(20)
    clock.now += 20
    endpoint.check(HERE)


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
