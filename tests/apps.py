"""Applications that tests share. To make one takes longer than most tests of it, so one that is made the same way is
made once a process, and each test has its own lane and runtimes sit in it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from typing import Any, cast

from fastapi import FastAPI

from datalane.api.app import create_app
from datalane.api.lanes import OpenLane
from datalane.contracts.http import MakeRouter
from datalane.domains import Runtime, domain_routers


class Seat:
    """Stands for whoever sits in it."""

    def __init__(self) -> None:
        self.sitting: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sitting, name)


_MADE: dict[tuple[str, tuple[Callable[..., Any], ...]], tuple[FastAPI, Seat, dict[str, Seat]]] = {}


def shared_app(lane: OpenLane, *routers: Callable[..., Any], **runtimes: Any) -> FastAPI:
    """As `create_app(lane, routers)`, each of which is given the `runtimes` by name as well."""
    key = (lane.settings.model_dump_json(), routers)
    if key not in _MADE:
        seat, seats = Seat(), {name: Seat() for name in runtimes}
        _sit(seat, lane, seats, runtimes)
        domains = [cast(MakeRouter, partial(router, **seats)) for router in routers]
        _MADE[key] = create_app(cast(OpenLane, seat), domains), seat, seats
    app, seat, seats = _MADE[key]
    _sit(seat, lane, seats, runtimes)
    return app


def shared_application(lane: OpenLane, runtime: Runtime) -> FastAPI:
    """As `create_app(lane, domain_routers(runtime))`, whatever the home folder of the settings."""
    named = {each.name: getattr(runtime, each.name) for each in fields(Runtime)}
    key = (lane.settings.model_dump_json(exclude={"home"}), (domain_routers,))
    if key not in _MADE:
        seat, seats = Seat(), {name: Seat() for name in named}
        _sit(seat, lane, seats, named)
        _MADE[key] = create_app(cast(OpenLane, seat), domain_routers(cast(Any, Runtime)(**seats))), seat, seats
    app, seat, seats = _MADE[key]
    _sit(seat, lane, seats, named)
    return app


def _sit(seat: Seat, lane: OpenLane, seats: dict[str, Seat], runtimes: dict[str, Any]) -> None:
    seat.sitting = lane
    for name, runtime in runtimes.items():
        seats[name].sitting = runtime
