"""Names that are never told: whoever asks for them holds some of the threads, and nobody all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from datalane.kit import lookups, outbound
from datalane.kit.lookups import LookupBusy, Lookups, asking
from datalane.kit.outbound import FetchFailed, Outbound

AT_ONCE, LONG = timedelta(0), timedelta(seconds=30)


class Names:
    """Whoever asks for `hang…` waits until `told` is set; `asked` counts those who wait or waited."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self.asked = threading.Semaphore(0)

    def look_up(self, host: str, port: int) -> Sequence[Any]:
        if host.startswith("hang"):
            self.asked.release()
            self.told.wait()
        return [(2, 1, 6, "", ("192.0.2.1", port))]

    async def until_asked(self, times: int) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self.asked.acquire, timeout=30)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    told = Names()
    monkeypatch.setattr(lookups, "look_up", told.look_up)
    yield told
    told.told.set()


async def find(among: Lookups, host: str, whose: str, patience: timedelta = AT_ONCE) -> Sequence[Any]:
    with asking(whose, patience):
        return await among.find(host, 80)


async def test_one_who_asks_for_names_that_hang_leaves_the_rest_to_others(names: Names) -> None:
    among = Lookups(6, 2)
    hanging = [asyncio.create_task(find(among, "hang.example", "ada")) for _ in range(2)]
    await names.until_asked(2)
    with pytest.raises(LookupBusy):
        await find(among, "ada.example", "ada")
    assert len(await find(among, "bob.example", "bob")) == 1
    waiting = asyncio.create_task(find(among, "ada.example", "ada", LONG))
    names.told.set()
    await asyncio.gather(*hanging, waiting)
    assert not among._under_way


async def test_a_lookup_that_nobody_waits_for_any_more_holds_its_place_until_it_ends(names: Names) -> None:
    among = Lookups(2, 1)
    hanging = asyncio.create_task(find(among, "hang.example", "ada"))
    await names.until_asked(1)
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging
    with pytest.raises(LookupBusy):
        await find(among, "ada.example", "ada")
    names.told.set()
    assert len(await find(among, "ada.example", "ada", LONG)) == 1


async def test_of_all_who_ask_no_more_are_served_than_there_are_threads(names: Names) -> None:
    among = Lookups(2, 1)
    hanging = [asyncio.create_task(find(among, "hang.example", whose)) for whose in ("ada", "bob")]
    await names.until_asked(2)
    with pytest.raises(LookupBusy):
        await find(among, "cem.example", "cem")
    names.told.set()
    await asyncio.gather(*hanging)


async def test_a_request_says_whether_its_name_hangs_or_found_no_place(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbound, "_LOOKUPS", Lookups(4, 1))
    asks = Outbound(timeout=timedelta(seconds=0.5))
    with pytest.raises(FetchFailed) as hung:
        await asks.fetch("https://hang.example/", 10, "ada")
    assert hung.value.reason == "timeout"
    with pytest.raises(LookupBusy):
        await asks.fetch("https://other.example/", 10, "ada")
    with pytest.raises(outbound.FetchRefused):  # it was looked up
        await asks.fetch("https://other.example/", 10, "bob")
