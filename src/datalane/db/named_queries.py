"""Named SQL queries from a `.sql` file beside the code. They raise Datalane's errors by themselves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiosql
from aiosql.adapters.asyncpg import AsyncPGAdapter
from aiosql.types import SQLOperationType

from datalane.db.faults import translated

_KINDS = frozenset(
    {
        SQLOperationType.SELECT,
        SQLOperationType.SELECT_ONE,
        SQLOperationType.SELECT_VALUE,
        SQLOperationType.INSERT_UPDATE_DELETE,
    }
)


class _Adapter(AsyncPGAdapter):  # type: ignore[misc]
    """Row queries answer lists, and every query raises what `translated` makes of its error.

    The stock adapter answers rows as generators, which outlive the transaction they read. And it lists the attributes
    of its connection at each call, to see whether it is a pool, which costs more than all the rest of its work; a pool
    has the same methods.

    Declared as not asynchronous, so that the library hands our coroutines on as they are.
    """

    is_aio_driver = False

    def process_sql(self, query_name: str, operation: SQLOperationType, sql: str) -> str:
        """Refuses, while the file is loaded, the kinds of query that nothing here translates."""
        if operation not in _KINDS:
            raise ValueError(f"the query {query_name} must end in ^, $, ! or nothing of these, not in another suffix")
        return str(super().process_sql(query_name, operation, sql))

    async def select(
        self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None
    ) -> list[Any]:
        with translated():
            rows: list[Any] = await conn.fetch(sql, *self.maybe_order_params(query_name, parameters))
            return rows

    async def select_one(self, conn: Any, query_name: str, sql: str, parameters: Any, record_class: Any = None) -> Any:
        with translated():
            return await conn.fetchrow(sql, *self.maybe_order_params(query_name, parameters))

    async def select_value(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        with translated():
            return await conn.fetchval(sql, *self.maybe_order_params(query_name, parameters))

    async def insert_update_delete(self, conn: Any, query_name: str, sql: str, parameters: Any) -> Any:
        with translated():
            return await conn.execute(sql, *self.maybe_order_params(query_name, parameters))


def load_queries(code_file: str, name: str = "queries.sql", write_out: Callable[[str], str] | None = None) -> Any:
    """The queries of the file `name` beside `code_file`, as coroutines taking an asyncpg connection or pool first.

    `write_out` makes of its text what is loaded, where parts of a query repeat each other.

    By suffix of the name: none answers a list of rows, `^` one row or None, `$` one value, `!` the status. They raise
    database errors as `translated` does. Raises `ValueError` for a query of another kind.
    """
    path = Path(code_file).parent / name
    if write_out is None:
        return aiosql.from_path(path, driver_adapter=_Adapter)
    return aiosql.from_str(write_out(path.read_text()), driver_adapter=_Adapter)
