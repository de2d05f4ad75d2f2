"""What an engine implements to take part."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

WORKSPACES: tuple[uuid.UUID, ...] = tuple(uuid.uuid5(uuid.NAMESPACE_DNS, f"ws{i}.bench") for i in range(100))

INSERT_EFFECT = "INSERT INTO bench_effects (workspace_id, n) VALUES ({0}, {1})"
"""The one INSERT of the effect scenario; ``{0}`` and ``{1}`` are the driver's placeholders."""


class Scenario(StrEnum):
    """The measurements; values are the names on the command line."""

    BACKLOG = "backlog"
    EFFECT = "effect"
    PUBLISH = "publish"
    LATENCY = "latency"
    CLAIM = "claim"


@dataclass(frozen=True)
class Drain:
    """One drained backlog: wall seconds, and how often handlers ran (job count, if nothing was repeated)."""

    seconds: float
    handled: int


def workspace_of(n: int) -> uuid.UUID:
    """Workspace of job ``n``: neighbours in the backlog belong to different workspaces."""
    return WORKSPACES[n % len(WORKSPACES)]


class Contender(ABC):
    """One job engine on one database. Each method is called in a process of its own, on a new instance.

    Jobs are numbered 0…count-1 and carry their number and their workspace. Every method blocks; asyncio engines
    run their own loop inside. Clocks: ``drain``, ``publish`` and ``claim`` time only what their line says.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """Distributions whose versions are reported."""
    scenarios: ClassVar[frozenset[Scenario]]
    settings: ClassVar[Mapping[str, str]]
    """The settings in use, for the report: what was chosen for speed and where it is documented."""
    first_guess: ClassVar[Mapping[Scenario, int]]
    """Items per second, roughly: sizes the warm-up round, which then sizes the real ones."""
    tally_sql: ClassVar[str]
    """One row ``(unfinished, completed)``: jobs not yet completed, jobs recorded as completed."""
    effects_sql: ClassVar[str] = (
        "SELECT count(*), count(DISTINCT n), count(DISTINCT workspace_id) FROM public.bench_effects"
    )
    """One row ``(effects, distinct job numbers, distinct workspaces)``."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn

    @abstractmethod
    def install(self) -> None:
        """Create the engine's schema in the empty database (``public.bench_effects`` exists already)."""

    @abstractmethod
    def publish(self, count: int, batch: int) -> float:
        """Enqueue ``count`` no-op jobs, ``batch`` per call and commit, one after another; wall seconds.

        Connections are open before the clock starts. Also fills the backlog for the other scenarios.
        """

    def fill(self, count: int, batch: int, *, spread: bool) -> None:
        """Make the backlog, off the clock. ``spread`` over the 100 workspaces, else as the engine likes it best."""
        self.publish(count, batch)

    @abstractmethod
    def drain(self, count: int, *, effect: bool) -> Drain:
        """Work off a backlog of ``count`` jobs in this one process.

        The clock starts when the connected worker is told to begin and stops when the database says that every
        job is completed. With ``effect`` the handler runs INSERT_EFFECT for its job, otherwise nothing.
        """

    @abstractmethod
    def serve(self, ready: Callable[[], None], started: Callable[[int], None]) -> None:
        """Run a worker until the process is terminated; call ``ready`` once idle, ``started(n)`` in each handler."""

    @abstractmethod
    def open_producer(self) -> AbstractContextManager[Callable[[int], None]]:
        """A connected function that enqueues job ``n`` and returns after its commit."""

    def claim(self, count: int, batch: int) -> float:
        """Claim and complete a backlog with no handler between, ``batch`` jobs at a time; wall seconds."""
        raise NotImplementedError(f"{self.name} has no claim scenario")
