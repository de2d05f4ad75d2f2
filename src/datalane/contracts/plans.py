"""How the statements of a transaction are planned."""

from __future__ import annotations

from enum import Enum

_QUICK = ("jit = off", "max_parallel_workers_per_gather = 0", "random_page_cost = 1.1")
"""For statements that take milliseconds: compiling a plan, or starting workers for it, takes longer. What they read is
mostly in memory: at the price of a disk that has to turn, 10,000 rows are counted in the table instead of an index,
which takes five times as long."""


class Plans(Enum):
    """The values are settings of the database."""

    USUAL = ()
    OWN = ("plan_cache_mode = force_custom_plan", *_QUICK)
    """Each time anew, for statements whose best plan depends on whose rows they read: a plan for the average workspace
    walks through all of a large one."""
    ONE = ("plan_cache_mode = force_generic_plan", *_QUICK)
    """Once, for statements that have one good plan, whosever rows they read."""
