"""The contenders by name; a contender's packages are imported only when it takes part."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from bench.jobs.contender import Contender

CONTENDERS: dict[str, str] = {
    "datalane": "bench.jobs.datalane_side:DatalaneSide",
    "datalane-sharing": "bench.jobs.datalane_side:DatalaneSharing",
    "procrastinate": "bench.jobs.procrastinate_side:ProcrastinateSide",
    "pgqueuer": "bench.jobs.pgqueuer_side:PgqueuerSide",
    "dbos": "bench.jobs.dbos_side:DbosSide",
    "sql": "bench.jobs.sql_side:SqlSide",
}


def load_contender(name: str) -> type[Contender]:
    """The contender's class. Raises KeyError for an unknown name, ImportError when a package is missing."""
    module, attribute = CONTENDERS[name].split(":")
    return cast("type[Contender]", getattr(import_module(module), attribute))
